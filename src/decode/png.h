// SPDX-License-Identifier: Apache-2.0
//
// PNG by libspng: any bit depth, palette, grey, interlaced, to 8-bit RGBX. Checksums of critical
// chunks are verified.
#pragma once

#include "decode/jpeg.h"

namespace headrace {

bool is_png(Bytes bytes);
// From the header chunk, limits checked.
Result<ImageSize> png_size(Bytes bytes, const ImageLimits& limits);
// The whole image.
// Samples of a grey, grey + alpha, RGB or RGBA file of 8 or 16 bits as they are stored: what else there is (palettes, 1
// to 4 bits) is kUnsupported.
struct PngForm {
  ImageSize size;
  uint32_t channels = 1;
};
Result<PngForm> png_samples_form(Bytes bytes, const ImageLimits& limits);
// `out`: height * width * channels values of 16 bits, in the machine's byte order; those of 8 bits are 0..255.
Status decode_png_samples(Bytes bytes, const ImageLimits& limits, MutableBytes out);
Status decode_png(Bytes bytes, const ImageLimits& limits, PixelRows& rows);

}  // namespace headrace
