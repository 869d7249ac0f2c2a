// SPDX-License-Identifier: Apache-2.0
//
// bzip2 through libbz2: streams one after another, as pbzip2 writes them. libbz2 checks each
// block's CRC-32 before it gives out its bytes. Blocks begin inside bytes and have no entry in the
// library, so that restart points are stream starts: a shard of one stream is read again from its
// front.
#include <bzlib.h>

#include <algorithm>

#include "format/decoder.h"

namespace headrace {
namespace {

std::string number(uint64_t n) { return std::to_string(n); }

// libbz2's manual, 2.4: 100 kB and four times the block size, which is at most 900 kB.
constexpr uint64_t kMemoryBytes = 100'000 + 4 * 900'000;

class Bzip2Decoder final : public Decoder {
 public:
  Bzip2Decoder(const DecoderOptions& options, const RestartPoint& from)
      : options_(options),
        start_stored_(from.stored),
        start_plain_(from.plain),
        stored_(from.stored),
        plain_(from.plain),
        stream_stored_(from.stored),
        last_point_(from.plain) {}
  ~Bzip2Decoder() override { close(); }
  Bzip2Decoder(const Bzip2Decoder&) = delete;
  Bzip2Decoder& operator=(const Bzip2Decoder&) = delete;

  Result<Step> step(Bytes in, MutableBytes out) override {
    Step total;
    for (;;) {
      if (!in_stream_) {
        if (total.used == in.size()) return total;
        open();
      }
      HR_TRY_ASSIGN(const Step now, decompress(in.subspan(total.used), out.subspan(total.made)));
      total.used += now.used;
      total.made += now.made;
      if (in_stream_ && now.used + now.made == 0) return total;
      if (in_stream_ && total.made == out.size()) return total;
    }
  }

  Status finish() const override {
    if (in_stream_) return fail(Code::kCorrupt, "the object ends inside the stream: cut off?");
    if (stored_ == 0) return fail(Code::kCorrupt, "the object is empty");
    return {};
  }
  std::unique_ptr<RestartPoint> take_point() override { return std::move(point_); }
  uint64_t memory_bytes() const override { return sizeof *this + kMemoryBytes; }

 private:
  Status fail(Code code, const std::string& cause) const {
    return {code, "bzip2 stream at byte " + number(stream_stored_) + ", near stored byte " + number(stored_) +
                      " and plain byte " + number(plain_) + ": " + cause};
  }

  void open() {
    z_ = {};
    HR_ASSERT(::BZ2_bzDecompressInit(&z_, 0, 0) == BZ_OK);  // the only error is memory
    in_stream_ = true;
    stream_stored_ = stored_;
  }
  void close() {
    if (in_stream_) ::BZ2_bzDecompressEnd(&z_);
    in_stream_ = false;
  }

  Result<Step> decompress(Bytes in, MutableBytes out) {
    const size_t in_now = std::min<size_t>(in.size(), 1u << 30), out_now = std::min<size_t>(out.size(), 1u << 30);
    z_.next_in = reinterpret_cast<char*>(const_cast<std::byte*>(in.data()));  // libbz2 only reads it
    z_.avail_in = static_cast<unsigned>(in_now);
    z_.next_out = reinterpret_cast<char*>(out.data());
    z_.avail_out = static_cast<unsigned>(out_now);
    const int code = ::BZ2_bzDecompress(&z_);
    const Step step{in_now - z_.avail_in, out_now - z_.avail_out};
    stored_ += step.used;
    plain_ += step.made;
    if (code == BZ_DATA_ERROR_MAGIC) {
      return fail(Code::kCorrupt, "it does not begin with \"BZh\": no bzip2, or bytes behind its end");
    }
    if (code != BZ_OK && code != BZ_STREAM_END) {
      return fail(Code::kCorrupt, "a block or its checksum is damaged (libbz2 says " + std::to_string(code) + ")");
    }
    if (is_bomb(options_, stored_ - start_stored_, plain_ - start_plain_)) {
      return fail(Code::kExhausted,
                  "more than " + number(options_.ratio_max) + " bytes out of each stored one: a bomb, not data");
    }
    if (code == BZ_STREAM_END) {
      close();
      make_point();
    }
    return step;
  }

  void make_point() {
    if (plain_ - last_point_ < options_.point_every) return;
    last_point_ = plain_;
    point_ = std::make_unique<RestartPoint>();
    point_->stored = stored_;
    point_->plain = plain_;
  }

  const DecoderOptions options_;
  bz_stream z_{};
  bool in_stream_ = false;
  const uint64_t start_stored_, start_plain_;
  uint64_t stored_, plain_, stream_stored_, last_point_;
  std::unique_ptr<RestartPoint> point_;
};

}  // namespace

std::unique_ptr<Decoder> make_bzip2_decoder(const DecoderOptions& options, const RestartPoint& from) {
  return std::make_unique<Bzip2Decoder>(options, from);
}

}  // namespace headrace
