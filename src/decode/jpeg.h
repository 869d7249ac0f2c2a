// SPDX-License-Identifier: Apache-2.0
//
// JPEG by libjpeg-turbo: a region of the image, at full size or reduced in the DCT domain, as RGBX.
// The plain libjpeg interface rather than TurboJPEG's, because only it can skip what lies outside
// the crop and tell harmless warnings from damaged data.
#pragma once

#include <memory>
#include <vector>

#include "decode/image.h"

namespace headrace {

// Half-open, in pixels.
struct PixelRect {
  uint32_t left = 0, top = 0, right = 0, bottom = 0;
};

// Decoded RGBX rows that cover at least the rectangle asked for.
struct PixelRows {
  std::vector<uint8_t> pixels;
  uint64_t stride = 0;
  uint32_t left = 0;  // of the image's pixel that pixels[0] is
  uint32_t top = 0;
  uint32_t width = 0;
  uint32_t height = 0;
};

class JpegReader {
 public:
  explicit JpegReader(const ImageLimits& limits);
  ~JpegReader();

  // Reads the header. `bytes` must outlive the reader.
  Result<ImageSize> open(Bytes bytes);
  // The size of the image reduced by `shrink` (1, 2, 4 or 8), as libjpeg rounds it.
  static ImageSize shrunk(ImageSize size, uint32_t shrink);
  // After open(), once: `rect`, in pixels of the shrunk image and inside it, into `rows`. What lies
  // below the rectangle is not decoded, only checked to end in an end-of-image marker.
  Status decode(uint32_t shrink, PixelRect rect, PixelRows& rows);

  struct State;  // jpeg.cc

 private:
  std::unique_ptr<State> state_;
};

}  // namespace headrace
