// SPDX-License-Identifier: Apache-2.0
//
// WebP by libwebp: a region of a still image, lossy or lossless, as RGBX; alpha is dropped. Animations
// are refused. The format has no checksums: damage that leaves a valid bit stream is not seen.
#pragma once

#include "decode/jpeg.h"

namespace headrace {

bool is_webp(Bytes bytes);
// From the header, limits checked.
Result<ImageSize> webp_size(Bytes bytes, const ImageLimits& limits);
// At least `rect`, in pixels of the image and inside it. After webp_size(): no limits are checked.
Status decode_webp(Bytes bytes, PixelRect rect, PixelRows& rows);

}  // namespace headrace
