// SPDX-License-Identifier: Apache-2.0
#include "decode/webp.h"

#include <webp/decode.h>

#include <algorithm>
#include <string>

namespace headrace {
namespace {

// Chroma at the border of a region is made up from one side alone; so far in it is as in the whole
// image.
constexpr uint32_t kMargin = 2;

Status failed(std::string_view step, VP8StatusCode status) {
  const auto cause = [status] {
    switch (status) {
      case VP8_STATUS_OUT_OF_MEMORY: return "no memory";
      case VP8_STATUS_NOT_ENOUGH_DATA: return "cut short";
      case VP8_STATUS_UNSUPPORTED_FEATURE: return "a feature that libwebp does not know";
      default: return "not a valid bit stream";
    }
  }();
  const std::string text = "read WebP: " + std::string(step) + ": " + cause;
  return status == VP8_STATUS_OUT_OF_MEMORY ? exhausted(text) : corrupt(text);
}

const uint8_t* data_of(Bytes bytes) { return reinterpret_cast<const uint8_t*>(bytes.data()); }

}  // namespace

bool is_webp(Bytes bytes) {
  const std::string_view text = as_text(bytes);
  return text.starts_with("RIFF") && text.size() >= 12 && text.substr(8, 4) == "WEBP";
}

Result<ImageSize> webp_size(Bytes bytes, const ImageLimits& limits) {
  WebPBitstreamFeatures found;
  const VP8StatusCode status = WebPGetFeatures(data_of(bytes), bytes.size(), &found);
  if (status != VP8_STATUS_OK) return failed("header", status);
  if (found.has_animation != 0) {
    return unsupported("read WebP: an animation: still images are read; decode the field as bytes");
  }
  const auto width = static_cast<uint32_t>(found.width), height = static_cast<uint32_t>(found.height);
  if (uint64_t{width} * height > limits.pixels_max) {
    return exhausted("read WebP: more pixels than pixels_max = " + std::to_string(limits.pixels_max));
  }
  return ImageSize{width, height};
}

Status decode_webp(Bytes bytes, PixelRect rect, PixelRows& rows) {
  WebPDecoderConfig config;
  if (WebPInitDecoderConfig(&config) == 0) return internal_error("read WebP: libwebp of another version");
  const VP8StatusCode header = WebPGetFeatures(data_of(bytes), bytes.size(), &config.input);
  if (header != VP8_STATUS_OK) return failed("header", header);
  const auto width = static_cast<uint32_t>(config.input.width), height = static_cast<uint32_t>(config.input.height);
  // libwebp begins at even pixels, whatever it is told.
  rows.left = (rect.left - std::min(rect.left, kMargin)) & ~1u;
  rows.top = (rect.top - std::min(rect.top, kMargin)) & ~1u;
  rows.width = std::min(rect.right + kMargin, width) - rows.left;
  rows.height = std::min(rect.bottom + kMargin, height) - rows.top;
  rows.stride = uint64_t{rows.width} * 4;
  rows.pixels.resize(rows.stride * rows.height);
  config.options.use_cropping = 1;
  config.options.crop_left = static_cast<int>(rows.left);
  config.options.crop_top = static_cast<int>(rows.top);
  config.options.crop_width = static_cast<int>(rows.width);
  config.options.crop_height = static_cast<int>(rows.height);
  config.output.colorspace = MODE_RGBA;
  config.output.is_external_memory = 1;
  config.output.u.RGBA.rgba = rows.pixels.data();
  config.output.u.RGBA.stride = static_cast<int>(rows.stride);
  config.output.u.RGBA.size = rows.pixels.size();
  const VP8StatusCode status = WebPDecode(data_of(bytes), bytes.size(), &config);
  WebPFreeDecBuffer(&config.output);
  return status == VP8_STATUS_OK ? Status() : failed("pixels", status);
}

}  // namespace headrace
