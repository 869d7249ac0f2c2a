// SPDX-License-Identifier: Apache-2.0
//
// EXIF orientation of a JPEG (CIPA DC-008, tag 0x0112): how the stored picture is turned to be shown. Crops are planned
// on the shown picture; only its part is decoded, as stored, and turned at the end. Pure arithmetic.
#pragma once

#include "decode/crop.h"

namespace headrace {

// 1..8; 1 (as stored) where nothing is said, or nothing that makes sense: viewers take it so, too.
class Orientation {
 public:
  Orientation() = default;
  static Orientation of_jpeg(Bytes jpeg);

  bool as_stored() const { return number_ == 1; }
  uint32_t number() const { return number_; }
  ImageSize shown(ImageSize stored) const { return turned() ? ImageSize{stored.height, stored.width} : stored; }
  // The plan for the stored picture; without its flip, which turn_pixels() does.
  CropPlan stored_plan(const CropPlan& shown, ImageSize stored) const;
  // `hwc`: out_width x out_height pixels of `stored`; `out`: those of `shown`.
  void turn_pixels(const uint8_t* hwc, const CropPlan& stored, const CropPlan& shown, PixelLayout layout,
                   uint8_t* out) const;

 private:
  bool turned() const { return number_ >= 5; }
  bool mirrors_x() const { return number_ == 2 || number_ == 3 || number_ == 7 || number_ == 8; }
  bool mirrors_y() const { return number_ == 3 || number_ == 4 || number_ == 6 || number_ == 7; }
  CropPlan::Box stored_box(CropPlan::Box shown, ImageSize stored) const;

  uint32_t number_ = 1;
};

}  // namespace headrace
