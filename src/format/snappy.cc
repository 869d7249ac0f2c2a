// SPDX-License-Identifier: Apache-2.0
//
// Raw snappy (google/snappy format_description.txt), as python-snappy's compress() writes it: the
// plain length as a varint, then literals and copies. libsnappy wants the whole object and the
// whole output in memory; this reads it as it comes. Snappy's compressor works on pieces of 64 KiB
// and so never copies from further back than that: what does is refused. No checksum, no restart
// points (it decodes faster than a network brings it).
#include <algorithm>
#include <array>
#include <vector>

#include "format/decoder.h"

namespace headrace {
namespace {

std::string number(uint64_t n) { return std::to_string(n); }
constexpr uint64_t kWindow = 65'536;

class SnappyDecoder final : public Decoder {
 public:
  explicit SnappyDecoder(const DecoderOptions& options) : options_(options), window_(kWindow) {}

  Result<Step> step(Bytes in, MutableBytes out) override {
    Step step;
    for (;;) {
      if (copy_ > 0) {
        const size_t n = copy(out.subspan(step.made));
        step.made += n;
        if (copy_ > 0) return step;
      } else if (literal_ > 0) {
        const size_t n = literal(in.subspan(step.used), out.subspan(step.made));
        step.used += n;
        step.made += n;
        if (literal_ > 0) return step;
      } else {
        if (step.used == in.size()) return step;
        HR_TRY(take(static_cast<uint8_t>(in[step.used])));
        ++step.used;
        ++stored_;
      }
    }
  }

  Status finish() const override {
    if (stored_ == 0) return fail(Code::kCorrupt, "the object is empty");
    if (has_length_ && plain_ == length_ && have_ == 0) return {};
    return fail(Code::kCorrupt, "the object ends inside it: cut off?");
  }
  std::unique_ptr<RestartPoint> take_point() override { return nullptr; }
  uint64_t memory_bytes() const override { return sizeof *this + kWindow; }

 private:
  Status fail(Code code, const std::string& cause) const {
    return {code, "snappy, near stored byte " + number(stored_) + " and plain byte " + number(plain_) + ": " + cause};
  }

  // One byte of the length or of an element's head.
  Status take(uint8_t byte) {
    if (!has_length_) return take_length(byte);
    head_[have_++] = byte;
    const uint8_t tag = head_[0];
    const uint32_t kind = tag & 3, n = tag >> 2;
    // Literals of 60 bytes and more have their length in 1 to 4 bytes, copies an offset of 1, 2 or 4.
    const uint32_t more = kind == 0 ? (n < 60 ? 0 : n - 59) : kind == 3 ? 4 : kind;
    if (have_ < 1 + more) return {};
    have_ = 0;
    uint64_t value = 0;
    for (uint32_t i = 0; i < more; ++i) value |= uint64_t{head_[1 + i]} << (8 * i);
    if (kind == 0) {
      literal_ = (more == 0 ? n : value) + 1;
      return check(literal_);
    }
    copy_ = kind == 1 ? 4 + (n & 7) : n + 1;
    offset_ = kind == 1 ? value | uint64_t{head_[0]} >> 5 << 8 : value;
    return check(copy_);
  }

  Status take_length(uint8_t byte) {
    length_ |= uint64_t{byte & 0x7fu} << (7 * have_);
    has_length_ = (byte & 0x80) == 0;
    if (have_ == 4 && (byte & 0xf0) != 0) return fail(Code::kCorrupt, "its length does not fit 32 bits");
    have_ = has_length_ ? 0 : have_ + 1;
    return {};
  }

  // The element that was just read.
  Status check(uint64_t makes) {
    if (makes > length_ - plain_) {
      return fail(Code::kCorrupt, "an element of " + number(makes) + " bytes, " + number(length_ - plain_) +
                                      " are left of the stated " + number(length_));
    }
    if (copy_ > 0 && (offset_ == 0 || offset_ > plain_)) {
      return fail(Code::kCorrupt, "a copy from " + number(offset_) + " bytes back");
    }
    if (copy_ > 0 && offset_ > kWindow) {
      return fail(Code::kUnsupported, "a copy from " + number(offset_) +
                                          " bytes back; snappy itself never goes back more than " + number(kWindow));
    }
    if (is_bomb(options_, stored_ + 1, plain_ + makes)) {
      return fail(Code::kExhausted,
                  "more than " + number(options_.ratio_max) + " bytes out of each stored one: a bomb, not data");
    }
    return {};
  }

  void keep(Bytes made) {
    for (size_t done = 0; done < made.size();) {
      const size_t at = (plain_ + done) % kWindow, n = std::min(made.size() - done, kWindow - at);
      std::memcpy(&window_[at], made.data() + done, n);
      done += n;
    }
    plain_ += made.size();
  }

  size_t literal(Bytes in, MutableBytes out) {
    const auto n = static_cast<size_t>(std::min<uint64_t>({literal_, in.size(), out.size()}));
    if (n == 0) return 0;
    std::memcpy(out.data(), in.data(), n);
    keep(in.first(n));
    stored_ += n;
    literal_ -= n;
    return n;
  }

  // Byte by byte where the copy overlaps itself; at most 64 bytes.
  size_t copy(MutableBytes out) {
    const auto n = static_cast<size_t>(std::min<uint64_t>(copy_, out.size()));
    for (size_t i = 0; i < n; ++i, ++plain_) {
      const std::byte b = window_[(plain_ - offset_) % kWindow];
      window_[plain_ % kWindow] = b;
      out[i] = b;
    }
    copy_ -= n;
    return n;
  }

  const DecoderOptions options_;
  std::vector<std::byte> window_;
  uint64_t stored_ = 0, plain_ = 0;
  uint64_t length_ = 0;
  bool has_length_ = false;
  std::array<uint8_t, 5> head_{};
  uint32_t have_ = 0;                   // bytes of head_, or of the length
  uint64_t literal_ = 0, copy_ = 0, offset_ = 0;  // what is still to come of the element
};

}  // namespace

std::unique_ptr<Decoder> make_snappy_decoder(const DecoderOptions& options) {
  return std::make_unique<SnappyDecoder>(options);
}

}  // namespace headrace
