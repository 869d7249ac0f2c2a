// SPDX-License-Identifier: Apache-2.0
//
// Which part of an image goes to the output: pure arithmetic. Frozen like the order: a change of
// these rules changes what a seed means.
//
// Draws from the sample's key, in this order: one for the flip (always); for kRandomResized then,
// for each of at most 10 attempts, one for the area, one for the log of the ratio and, when the box
// fits, bounded() for top and left.
#pragma once

#include "decode/image.h"

namespace headrace {

// In pixels of the stored image. `box` may have fractions (kCenter: the resize and the cut are one
// step); filter taps stay inside `taps`, which is the box itself for kRandomResized (torchvision
// crops, then resizes) and else the image.
struct CropPlan {
  struct Box {
    double left = 0, top = 0, right = 0, bottom = 0;
  };
  Box box;
  Box taps;
  uint32_t out_width = 0;
  uint32_t out_height = 0;
  bool flip = false;
};

CropPlan plan_crop(ImageSize image, const ImageOptions& options, uint64_t key);

}  // namespace headrace
