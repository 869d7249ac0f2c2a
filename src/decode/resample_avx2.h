// SPDX-License-Identifier: Apache-2.0
//
// The inner loops of resample.cc for processors with AVX2: two output pixels at a time, the same bytes as the plain
// loops give (resample_test.cc). Private to the resampler.
#pragma once

#include <cstdint>

#include "decode/resample.h"

namespace headrace {

struct Avx2Loops {
  static bool usable();  // on this processor
  // Weights as combine_across() loads them, into taps.wide.
  static void widen(ResampleScratch::Taps& taps);
  // out[x] = sum over taps of weights[t] * rows[t][x]; rows are `stride` apart. Returns how many bytes were made: the
  // rest is less than a register.
  static uint64_t combine_rows(const uint8_t* rows, uint64_t stride, const int16_t* weights, uint32_t count,
                               uint64_t bytes, uint8_t* out);
  // `rgbx`: 4 bytes a pixel, in the order of the target (flipped or not). `row` has kSlackBytes behind it.
  static void combine_across(const uint8_t* row, const ResampleScratch::Taps& taps, bool flip, uint8_t* rgbx);
  // Row `y` of the target from `rgbx`; rows come in order.
  static void store_row(const uint8_t* rgbx, const RgbTarget& target, uint32_t y);

  static constexpr uint64_t kSlackBytes = 16;
};

}  // namespace headrace
