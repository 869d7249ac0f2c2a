// SPDX-License-Identifier: Apache-2.0
//
// Bilinear resampling with antialiasing (Pillow's BILINEAR: a triangle filter, widened by the scale
// when shrinking), in integers: the same bytes on every machine. Within 2 levels of Pillow (tested
// against its output).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "decode/crop.h"

namespace headrace {

// Four bytes a pixel: R, G, B and one that is ignored.
struct RgbxView {
  const uint8_t* pixels = nullptr;
  uint32_t width = 0;
  uint32_t height = 0;
  uint64_t stride = 0;  // bytes from row to row
};

struct RgbTarget {
  uint8_t* pixels = nullptr;  // 3 * width * height bytes
  uint32_t width = 0;
  uint32_t height = 0;
  PixelLayout layout = PixelLayout::kChw;
  bool flip = false;
};

struct ResampleScratch {
  struct Taps {
    std::vector<uint32_t> first;   // of each output pixel: its first source pixel
    std::vector<int16_t> weights;  // `count` of each output pixel, in 1 / 2^14, summing to 2^14
    uint32_t count = 0;            // even
    std::vector<int16_t> wide;     // the weights as resample_avx2.cc loads them
  };
  Taps horizontal, vertical;
  std::vector<uint8_t> row;   // one output row before the horizontal pass
  std::vector<uint8_t> rgbx;  // and after it
};

// `box` and `taps` in pixels of `source`, inside it; the box is not empty.
void resample(const RgbxView& source, const CropPlan::Box& box, const CropPlan::Box& taps,
              const RgbTarget& target, ResampleScratch& scratch);

// The SSE2 and the plain form of the inner loops, for the test that all forms give the same bytes.
void resample_sse2(const RgbxView& source, const CropPlan::Box& box, const CropPlan::Box& taps,
                   const RgbTarget& target, ResampleScratch& scratch);
void resample_portable(const RgbxView& source, const CropPlan::Box& box, const CropPlan::Box& taps,
                       const RgbTarget& target, ResampleScratch& scratch);

}  // namespace headrace
