// SPDX-License-Identifier: Apache-2.0
#include "format/decoder.h"

#include <algorithm>
#include <array>

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

constexpr uint64_t kSlack = 64 << 20;  // plain bytes before the ratio counts

struct Ending {
  std::string_view text;
  Compression compression;
  std::string_view instead;  // what the name without compression ends in
};
constexpr std::array<Ending, 11> kEndings = {{
    {".gz", Compression::kGzip, ""},
    {".tgz", Compression::kGzip, ".tar"},
    {".zst", Compression::kZstd, ""},
    {".zstd", Compression::kZstd, ""},
    {".tzst", Compression::kZstd, ".tar"},
    {".bz2", Compression::kBzip2, ""},
    {".tbz2", Compression::kBzip2, ".tar"},
    {".tbz", Compression::kBzip2, ".tar"},
    {".br", Compression::kBrotli, ""},
    {".snappy", Compression::kSnappy, ""},
    {".zlib", Compression::kZlib, ""},
}};

const Ending* ending_of(std::string_view key) {
  const auto found = std::ranges::find_if(kEndings, [&](const Ending& e) { return key.ends_with(e.text); });
  return found == kEndings.end() ? nullptr : &*found;
}

}  // namespace

std::string_view compression_name(Compression compression) {
  switch (compression) {
    case Compression::kGzip:
      return "gzip";
    case Compression::kZstd:
      return "zstd";
    case Compression::kBzip2:
      return "bzip2";
    case Compression::kBrotli:
      return "brotli";
    case Compression::kSnappy:
      return "snappy";
    case Compression::kZlib:
      return "zlib";
    case Compression::kNone:
      break;
  }
  return "none";
}

Compression compression_of_key(std::string_view key) {
  const Ending* ending = ending_of(key);
  return ending == nullptr ? Compression::kNone : ending->compression;
}

std::string without_compression(std::string_view key) {
  const Ending* ending = ending_of(key);
  if (ending == nullptr) return std::string(key);
  return std::string(key.substr(0, key.size() - ending->text.size())) + std::string(ending->instead);
}

bool is_bomb(const DecoderOptions& options, uint64_t stored, uint64_t plain) {
  return plain > kSlack && plain / options.ratio_max > stored;
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
  const bool from_front = compression == Compression::kBrotli || compression == Compression::kSnappy ||
                          compression == Compression::kZlib;
  if (from_front && (point.stored != 0 || point.plain != 0)) {
    return wrong("such an object can only be read from its front");
  }
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
    case Compression::kBzip2:
      return make_bzip2_decoder(options, from);
    case Compression::kBrotli:
      return make_brotli_decoder(options);
    case Compression::kSnappy:
      return make_snappy_decoder(options);
    case Compression::kZlib:
      return make_zlib_decoder(options);
    case Compression::kNone:
      break;
  }
  return std::unique_ptr<Decoder>(std::make_unique<PlainDecoder>());
}

}  // namespace headrace
