// SPDX-License-Identifier: Apache-2.0
//
// zlib (RFC 1950) through libz: one stream, its Adler-32 checked at its end. Rare (TFRecords written
// with ZLIB); no restart points. Bare deflate (RFC 1951) and its CRC-32 for the members of zip archives.
#include <zlib.h>

#include <algorithm>

#include "format/decoder.h"

namespace headrace {
namespace {

std::string number(uint64_t n) { return std::to_string(n); }

class ZlibDecoder final : public Decoder {
 public:
  ZlibDecoder(const DecoderOptions& options, int window_bits) : options_(options) {
    HR_ASSERT(::inflateInit2(&z_, window_bits) == Z_OK);  // the only error is memory
  }
  ~ZlibDecoder() override { ::inflateEnd(&z_); }
  ZlibDecoder(const ZlibDecoder&) = delete;
  ZlibDecoder& operator=(const ZlibDecoder&) = delete;

  Result<Step> step(Bytes in, MutableBytes out) override {
    if (ended_) {
      if (in.empty()) return Step{};
      return fail(Code::kCorrupt, "bytes behind the end of the stream");
    }
    const size_t in_now = std::min<size_t>(in.size(), 1u << 30), out_now = std::min<size_t>(out.size(), 1u << 30);
    z_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(in.data()));  // zlib only reads it
    z_.avail_in = static_cast<uInt>(in_now);
    z_.next_out = reinterpret_cast<Bytef*>(out.data());
    z_.avail_out = static_cast<uInt>(out_now);
    const int code = ::inflate(&z_, Z_NO_FLUSH);
    const Step step{in_now - z_.avail_in, out_now - z_.avail_out};
    stored_ += step.used;
    plain_ += step.made;
    if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR) {
      return fail(Code::kCorrupt, std::string("not zlib data: ") + (z_.msg ? z_.msg : "it needs a dictionary"));
    }
    if (is_bomb(options_, stored_, plain_)) {
      return fail(Code::kExhausted,
                  "more than " + number(options_.ratio_max) + " bytes out of each stored one: a bomb, not data");
    }
    ended_ = code == Z_STREAM_END;
    return step;
  }

  Status finish() const override {
    if (ended_) return {};
    return fail(Code::kCorrupt, "the object ends inside the stream: cut off?");
  }
  std::unique_ptr<RestartPoint> take_point() override { return nullptr; }
  // As gzip's.
  uint64_t memory_bytes() const override { return sizeof *this + (40 << 10); }

 private:
  Status fail(Code code, const std::string& cause) const {
    return {code,
            "zlib stream, near stored byte " + number(stored_) + " and plain byte " + number(plain_) + ": " + cause};
  }

  const DecoderOptions options_;
  z_stream z_{};
  uint64_t stored_ = 0, plain_ = 0;
  bool ended_ = false;
};

}  // namespace

std::unique_ptr<Decoder> make_zlib_decoder(const DecoderOptions& options) {
  return std::make_unique<ZlibDecoder>(options, MAX_WBITS);
}
std::unique_ptr<Decoder> make_deflate_decoder(const DecoderOptions& options) {
  return std::make_unique<ZlibDecoder>(options, -MAX_WBITS);
}

uint32_t zip_crc32(Bytes bytes) {
  return static_cast<uint32_t>(::crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

}  // namespace headrace
