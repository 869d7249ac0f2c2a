// SPDX-License-Identifier: Apache-2.0
#include "format/decoder.h"

#include <algorithm>

namespace headrace {
namespace {

std::string number(uint64_t n) { return std::to_string(n); }

// Stored bytes as they are.
class PlainDecoder final : public Decoder {
 public:
  Result<Step> step(Bytes in, MutableBytes out) override {
    const size_t n = std::min(in.size(), out.size());
    if (n > 0) std::memcpy(out.data(), in.data(), n);
    return Step{n, n};
  }
  Status finish() const override { return {}; }
  std::unique_ptr<RestartPoint> take_point() override { return nullptr; }  // every byte is one
  uint64_t memory_bytes() const override { return 0; }
};

bool ends_with_any(std::string_view key, std::initializer_list<std::string_view> ends) {
  return std::ranges::any_of(ends, [&](std::string_view end) { return key.ends_with(end); });
}

}  // namespace

std::string_view compression_name(Compression compression) {
  switch (compression) {
    case Compression::kGzip:
      return "gzip";
    case Compression::kZstd:
      return "zstd";
    case Compression::kNone:
      break;
  }
  return "none";
}

Compression compression_of_key(std::string_view key) {
  if (ends_with_any(key, {".gz", ".tgz"})) return Compression::kGzip;
  if (ends_with_any(key, {".zst", ".tzst", ".zstd"})) return Compression::kZstd;
  return Compression::kNone;
}

Status check_restart_point(const RestartPoint& point, Compression compression,
                           uint64_t object_size) {
  const auto wrong = [&](const std::string& what) {
    return precondition_failed("resume inside a " + std::string(compression_name(compression)) +
                               " object: the state's restart point is damaged: " + what);
  };
  if (point.stored > object_size) {
    return wrong("stored byte " + number(point.stored) + " of an object of " + number(object_size));
  }
  if (compression == Compression::kNone && point.stored != point.plain)
    return wrong("two different offsets");
  if (!point.inside) return {};
  if (compression != Compression::kGzip) return wrong("inside a member of an object that has none");
  if (point.bits > 7) return wrong(number(point.bits) + " bits of a byte");
  if (point.window.size() > kGzipWindow)
    return wrong("a window of " + number(point.window.size()) + " bytes");
  if (point.member_stored > point.stored || point.member_plain > point.plain)
    return wrong("before its member");
  if (point.window.size() > point.plain - point.member_plain)
    return wrong("a window from before its member");
  return {};
}

Result<std::unique_ptr<Decoder>> make_decoder(Compression compression,
                                              const DecoderOptions& options,
                                              const RestartPoint& from) {
  HR_TRY(check_restart_point(from, compression, ~uint64_t{0}));
  switch (compression) {
    case Compression::kGzip:
      return make_gzip_decoder(options, from);
    case Compression::kZstd:
      return make_zstd_decoder(options, from);
    case Compression::kNone:
      break;
  }
  return std::unique_ptr<Decoder>(std::make_unique<PlainDecoder>());
}

}  // namespace headrace
