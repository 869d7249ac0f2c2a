// SPDX-License-Identifier: Apache-2.0
//
// gzip (RFC 1952) with restart points inside members, after zlib's examples/zran.c: between two
// deflate blocks the decoder's whole state is the last 32 KiB it gave out and up to seven bits of
// the byte it stopped in. The frame around the deflate data is read here and not by zlib, because
// zlib cannot begin in the middle of a member and still check its CRC.
#include <zlib.h>

#include <algorithm>
#include <utility>

#include "base/endian.h"
#include "format/decoder.h"

namespace headrace {
namespace {

std::string number(uint64_t n) { return std::to_string(n); }

constexpr uint64_t kHeaderMax =
    64 << 10;  // of a member's header: name and comment are not bounded by the RFC
constexpr uint8_t kCrcFlag = 2, kExtraFlag = 4, kNameFlag = 8, kCommentFlag = 16;

class GzipDecoder final : public Decoder {
 public:
  GzipDecoder(const DecoderOptions& options, const RestartPoint& from)
      : options_(options),
        stored_(from.stored),
        plain_(from.plain),
        start_stored_(from.stored),
        start_plain_(from.plain),
        last_byte_(from.byte),
        last_point_(from.plain) {
    // Raw deflate. The only error is memory, as for any other allocation here.
    HR_ASSERT(::inflateInit2(&z_, -15) == Z_OK);
    member_stored_ = from.inside ? from.member_stored : from.stored;
    member_plain_ = from.inside ? from.member_plain : from.plain;
    if (!from.inside) return;
    phase_ = Phase::kBody;
    crc_ = from.crc;
    if (from.bits > 0)
      HR_ASSERT(::inflatePrime(&z_, from.bits, from.byte >> (8 - from.bits)) == Z_OK);
    if (!from.window.empty()) {
      const auto* window = reinterpret_cast<const Bytef*>(from.window.data());
      HR_ASSERT(::inflateSetDictionary(&z_, window, static_cast<uInt>(from.window.size())) == Z_OK);
    }
  }
  ~GzipDecoder() override { ::inflateEnd(&z_); }
  GzipDecoder(const GzipDecoder&) = delete;
  GzipDecoder& operator=(const GzipDecoder&) = delete;

  Result<Step> step(Bytes in, MutableBytes out) override {
    Step total;
    for (;;) {
      const Bytes rest = in.subspan(total.used);
      if (phase_ == Phase::kBody) {
        const MutableBytes room = out.subspan(total.made);
        HR_TRY_ASSIGN(const Step now, body(rest, room));
        total.used += now.used;
        total.made += now.made;
        if (phase_ == Phase::kBody) return total;
      } else {
        if (rest.empty()) return total;
        HR_TRY(frame_byte(static_cast<uint8_t>(rest[0])));
        ++total.used;
        ++stored_;
      }
    }
  }

  Status finish() const override {
    if (phase_ == Phase::kBetween || (phase_ == Phase::kHeader && header_.empty())) {
      if (stored_ > 0) return {};
    }
    return fail(Code::kCorrupt, "the object ends inside the member: cut off?");
  }

  std::unique_ptr<RestartPoint> take_point() override { return std::move(point_); }
  // zlib: 32 KiB window and about 7 KiB of tables (zconf.h).
  uint64_t memory_bytes() const override { return sizeof *this + (40 << 10); }

 private:
  enum class Phase { kHeader, kBody, kTrailer, kBetween };

  Status fail(Code code, const std::string& cause) const {
    return {code, "gzip member at byte " + number(member_stored_) + ", near stored byte " +
                      number(stored_) + " and plain byte " + number(plain_) + ": " + cause};
  }

  Status frame_byte(uint8_t byte) {
    if (phase_ == Phase::kTrailer) return trailer_byte(byte);
    if (phase_ == Phase::kBetween) {
      // As Python's gzip module: zeros may fill up, else another member begins.
      if (byte == 0) return {};
      phase_ = Phase::kHeader;
      member_stored_ = stored_;
      member_plain_ = plain_;
      make_point(false, 0);
    }
    return header_byte(byte);
  }

  // RFC 1952 section 2.3.1.
  Status header_byte(uint8_t byte) {
    header_.push_back(static_cast<char>(byte));
    const size_t n = header_.size();
    const auto at = [&](size_t i) { return static_cast<uint8_t>(header_[i]); };
    if ((n == 1 && byte != 0x1f) || (n == 2 && byte != 0x8b)) {
      return fail(Code::kCorrupt, "it does not begin with 1f 8b: no gzip, or bytes behind its end");
    }
    if (n == 3 && byte != 8) {
      return fail(Code::kUnsupported,
                  "compression method " + number(byte) + ", only 8 (deflate) is known");
    }
    if (n == 4 && (byte & 0xe0) != 0)
      return fail(Code::kUnsupported, "reserved flags are set: " + number(byte));
    if (n > kHeaderMax)
      return fail(Code::kExhausted, "its header is longer than " + number(kHeaderMax) + " bytes");
    if (n < 10) return {};
    size_t end = 10;
    const uint8_t flags = at(3);
    if (flags & kExtraFlag) {
      if (n < end + 2) return {};
      end += 2 + at(end) + 256u * at(end + 1);
      if (n < end) return {};
    }
    for (uint8_t text : {kNameFlag, kCommentFlag}) {
      if (!(flags & text)) continue;
      const size_t zero = header_.find('\0', end);
      if (zero == header_.npos) return {};
      end = zero + 1;
    }
    if (flags & kCrcFlag) end += 2;
    if (n < end) return {};
    phase_ = Phase::kBody;
    header_.clear();
    crc_ = 0;
    HR_ASSERT(::inflateReset(&z_) == Z_OK);
    return {};
  }

  Status trailer_byte(uint8_t byte) {
    header_.push_back(static_cast<char>(byte));
    if (header_.size() < 8) return {};
    const auto crc = load_le<uint32_t>(reinterpret_cast<const std::byte*>(header_.data()));
    const auto size = load_le<uint32_t>(reinterpret_cast<const std::byte*>(header_.data()) + 4);
    header_.clear();
    phase_ = Phase::kBetween;
    if (size != static_cast<uint32_t>(plain_ - member_plain_)) {
      return fail(Code::kCorrupt, "its length is stated as " + number(size) +
                                      " (modulo 2^32), but is " + number(plain_ - member_plain_));
    }
    if (crc == crc_) return {};
    return fail(Code::kCorrupt, "its CRC-32 is stated as " + number(crc) + ", but is " +
                                    number(crc_) +
                                    ": bytes of it were changed, samples given out since byte " +
                                    number(member_plain_) + " may be wrong");
  }

  Result<Step> body(Bytes in, MutableBytes out) {
    Step step;
    bool stuck = false;
    while (step.made < out.size()) {
      HR_TRY_ASSIGN(const Inflated now,
                    inflate_some(in.subspan(step.used), out.subspan(step.made)));
      step.used += now.used;
      step.made += now.made;
      if (now.ended) {
        phase_ = Phase::kTrailer;
        return step;
      }
      if (now.used + now.made > 0) {
        stuck = false;
        continue;
      }
      // zlib says "no progress" also when it only used up bits that it already held: ask once more.
      if (std::exchange(stuck, true)) return step;
    }
    return step;
  }

  struct Inflated {
    size_t used, made;
    bool ended;
  };
  // Up to the next block's end.
  Result<Inflated> inflate_some(Bytes in, MutableBytes out) {
    const size_t in_now = std::min<size_t>(in.size(), 1u << 30),
                 out_now = std::min<size_t>(out.size(), 1u << 30);
    z_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(in.data()));  // zlib only reads it
    z_.avail_in = static_cast<uInt>(in_now);
    z_.next_out = reinterpret_cast<Bytef*>(out.data());
    z_.avail_out = static_cast<uInt>(out_now);
    const int code = ::inflate(&z_, Z_BLOCK);
    const size_t used = in_now - z_.avail_in, made = out_now - z_.avail_out;
    if (used > 0) last_byte_ = static_cast<uint8_t>(in[used - 1]);
    crc_ = static_cast<uint32_t>(::crc32_z(crc_, reinterpret_cast<const Bytef*>(out.data()), made));
    stored_ += used;
    plain_ += made;
    if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR) {
      return fail(Code::kCorrupt, std::string("not deflate data: ") + (z_.msg ? z_.msg : "?"));
    }
    if (is_bomb(options_, stored_ - start_stored_, plain_ - start_plain_)) {
      return fail(Code::kExhausted,
                  "more than " + number(options_.ratio_max) + " bytes out of each stored one: a bomb, not data");
    }
    // Bit 7: behind a block's end; bit 6: that was the last block. The low bits count unused bits
    // of the last byte.
    const bool between_blocks = (z_.data_type & 128) != 0 && (z_.data_type & 64) == 0;
    if (code == Z_OK && between_blocks && plain_ - last_point_ >= options_.point_every) {
      make_point(true, static_cast<uint8_t>(z_.data_type & 7));
    }
    return Inflated{used, made, code == Z_STREAM_END};
  }

  void make_point(bool inside, uint8_t bits) {
    point_ = std::make_unique<RestartPoint>();
    point_->stored = stored_;
    point_->plain = plain_;
    last_point_ = plain_;
    if (!inside) return;
    point_->inside = true;
    point_->bits = bits;
    point_->byte = bits > 0 ? last_byte_ : 0;
    point_->crc = crc_;
    point_->member_stored = member_stored_;
    point_->member_plain = member_plain_;
    point_->window.resize(kGzipWindow);
    uInt size = 0;
    HR_ASSERT(::inflateGetDictionary(&z_, reinterpret_cast<Bytef*>(point_->window.data()), &size) ==
              Z_OK);
    point_->window.resize(size);
  }

  const DecoderOptions options_;
  z_stream z_{};
  Phase phase_ = Phase::kHeader;
  std::string header_;  // the header's or trailer's bytes so far
  uint64_t stored_, plain_;
  const uint64_t start_stored_, start_plain_;
  uint64_t member_stored_ = 0, member_plain_ = 0;
  uint32_t crc_ = 0;
  uint8_t last_byte_;
  uint64_t last_point_;
  std::unique_ptr<RestartPoint> point_;
};

}  // namespace

std::unique_ptr<Decoder> make_gzip_decoder(const DecoderOptions& options,
                                           const RestartPoint& from) {
  return std::make_unique<GzipDecoder>(options, from);
}

}  // namespace headrace
