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
Status decode_png(Bytes bytes, const ImageLimits& limits, PixelRows& rows);

}  // namespace headrace
