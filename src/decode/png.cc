// SPDX-License-Identifier: Apache-2.0
#include "decode/png.h"

#include <spng.h>

#include <algorithm>
#include <cstring>

namespace headrace {
namespace {

// Ancillary chunks (ICC profiles, texts) larger than this are no part of a picture.
constexpr size_t kChunkBytesMax = 64ull << 20;

struct ContextFree {
  void operator()(spng_ctx* context) const { spng_ctx_free(context); }
};
using Context = std::unique_ptr<spng_ctx, ContextFree>;

Status failed(std::string_view step, int error) {
  return corrupt("read PNG: " + std::string(step) + ": " + spng_strerror(error));
}

struct Opened {
  Context context;
  ImageSize size;
  uint32_t channels = 0;
  uint32_t bits = 0;
  bool palette = false;
};

Result<Opened> open(Bytes bytes, const ImageLimits& limits) {
  Opened opened{Context(spng_ctx_new(0)), {}, 0, 0, false};
  if (!opened.context) return exhausted("read PNG: no memory for a decoder");
  spng_ctx* context = opened.context.get();
  const auto side_max = static_cast<uint32_t>(std::min<uint64_t>(limits.pixels_max, 0x7FFFFFFF));
  if (int error = spng_set_image_limits(context, side_max, side_max))
    return failed("limits", error);
  if (int error = spng_set_chunk_limits(context, kChunkBytesMax, kChunkBytesMax)) {
    return failed("limits", error);
  }
  if (int error = spng_set_png_buffer(context, bytes.data(), bytes.size())) {
    return failed("buffer", error);
  }
  spng_ihdr header;
  const int error = spng_get_ihdr(context, &header);
  if (error == SPNG_EUSER_WIDTH || error == SPNG_EUSER_HEIGHT ||
      (error == 0 && uint64_t{header.width} * header.height > limits.pixels_max)) {
    return exhausted("read PNG: more pixels than pixels_max = " +
                     std::to_string(limits.pixels_max));
  }
  if (error != 0) return failed("header", error);
  opened.size = {header.width, header.height};
  opened.bits = header.bit_depth;
  opened.palette = header.color_type == SPNG_COLOR_TYPE_INDEXED;
  // Deflate makes at most 1032 bytes of one: a header that claims more is not believed (and nothing
  // is allocated for it).
  static constexpr uint64_t kChannels[] = {1, 0, 3, 1,
                                           2, 0, 4};  // by colour type, which spng has checked
  opened.channels = static_cast<uint32_t>(kChannels[header.color_type]);
  const uint64_t row_bits =
      uint64_t{header.width} * kChannels[header.color_type] * header.bit_depth;
  if (header.height * (row_bits / 8) / 1032 > bytes.size()) {
    return corrupt("read PNG: " + std::to_string(header.width) + "x" +
                   std::to_string(header.height) + " pixels cannot come from " +
                   std::to_string(bytes.size()) + " bytes");
  }
  return opened;
}

}  // namespace

bool is_png(Bytes bytes) {
  static constexpr std::string_view kSignature("\x89PNG\r\n\x1a\n", 8);
  return as_text(bytes).starts_with(kSignature);
}

Result<ImageSize> png_size(Bytes bytes, const ImageLimits& limits) {
  HR_TRY_ASSIGN(const Opened opened, open(bytes, limits));
  return opened.size;
}

Result<PngForm> png_samples_form(Bytes bytes, const ImageLimits& limits) {
  HR_TRY_ASSIGN(const Opened opened, open(bytes, limits));
  if (opened.palette || opened.bits < 8) {
    return unsupported("read PNG samples: " + std::string(opened.palette ? "a palette" : "fewer than 8 bits") +
                       ": 8 and 16 bits of grey or colour are read so; use hr.decode.image()");
  }
  return PngForm{opened.size, opened.channels};
}

Status decode_png_samples(Bytes bytes, const ImageLimits& limits, MutableBytes out) {
  HR_TRY_ASSIGN(const PngForm form, png_samples_form(bytes, limits));
  HR_TRY_ASSIGN(const Opened opened, open(bytes, limits));
  const size_t values = uint64_t{form.size.width} * form.size.height * form.channels;
  if (out.size() != 2 * values) {
    return internal_error("decode PNG samples: place of " + std::to_string(out.size()) + " bytes");
  }
  // 8 bits are decoded to the back half and widened from there on, front to back.
  const size_t bytes_stored = values * (opened.bits / 8);
  std::byte* pixels = out.data() + (out.size() - bytes_stored);
  const int error = spng_decode_image(opened.context.get(), pixels, bytes_stored, SPNG_FMT_PNG, 0);
  if (error != 0) return failed("pixels", error);
  if (opened.bits == 16) return {};
  for (size_t i = 0; i < values; ++i) {
    const auto value = static_cast<uint16_t>(pixels[i]);
    std::memcpy(out.data() + 2 * i, &value, sizeof value);
  }
  return {};
}

Status decode_png(Bytes bytes, const ImageLimits& limits, PixelRows& rows) {
  HR_TRY_ASSIGN(const Opened opened, open(bytes, limits));
  rows.left = rows.top = 0;
  rows.width = opened.size.width;
  rows.height = opened.size.height;
  rows.stride = uint64_t{rows.width} * 4;
  rows.pixels.resize(rows.stride * rows.height);
  const int error = spng_decode_image(opened.context.get(), rows.pixels.data(),
                                      rows.stride * rows.height, SPNG_FMT_RGBA8, 0);
  if (error != 0) return failed("pixels", error);
  return {};
}

}  // namespace headrace
