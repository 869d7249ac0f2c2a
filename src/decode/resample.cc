// SPDX-License-Identifier: Apache-2.0
//
// Rows are combined first (the vertical pass runs along whole rows), then pixels of the combined
// row. Weights are 16-bit so that pmaddwd does two taps of four channels at once; between the
// passes values are rounded to 8 bits, as in Pillow.
#include "decode/resample.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "decode/resample_avx2.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace headrace {
namespace {

constexpr int kWeightBits = 14;  // 2^14 = weight 1; 255 * 2^14 fits in 32 bits with room
constexpr int kOne = 1 << kWeightBits;
constexpr int kHalf = kOne / 2;

uint8_t level(int32_t sum) {
  return static_cast<uint8_t>(std::clamp((sum + kHalf) >> kWeightBits, 0, 255));
}

// Weights of every output pixel of one axis; out pixel i covers [begin + i*scale, begin +
// (i+1)*scale).
void make_taps(double begin, double end, double low, double high, uint32_t out,
               ResampleScratch::Taps& taps) {
  const double scale = (end - begin) / out, width = std::max(scale, 1.0);
  const auto first_max = static_cast<int64_t>(std::floor(low));
  const auto last_max = static_cast<int64_t>(std::ceil(high));
  // At most 2*width + 1 whole pixels lie within `width` of a centre.
  taps.count = static_cast<uint32_t>(
      std::min<int64_t>(static_cast<int64_t>(2 * width) + 2, last_max - first_max));
  taps.count += taps.count & 1;
  taps.first.resize(out);
  taps.weights.assign(uint64_t{out} * taps.count, 0);
  for (uint32_t i = 0; i < out; ++i) {
    const double center = begin + (i + 0.5) * scale;
    const int64_t first =
        std::max(static_cast<int64_t>(std::floor(center - width + 0.5)), first_max);
    const int64_t last = std::min(static_cast<int64_t>(std::floor(center + width + 0.5)), last_max);
    const auto weight = [&](int64_t x) {
      return std::max(0.0, 1.0 - std::abs((static_cast<double>(x) - center + 0.5) / width));
    };
    double sum = 0;
    for (int64_t x = first; x < last; ++x) sum += weight(x);
    taps.first[i] = static_cast<uint32_t>(first);
    // Rounded so that every prefix is right to half a unit: the sum is exact however many taps
    // there are.
    int16_t* out_weights = &taps.weights[uint64_t{i} * taps.count];
    double prefix = 0;
    int given = 0;
    for (int64_t x = first; x < last; ++x) {
      prefix += weight(x);
      const double share = prefix / sum * kOne;
      const int upto = share < 0.5 ? 0 : static_cast<int>(share + 0.5);  // std::lround
      *out_weights++ = static_cast<int16_t>(upto - given);
      given = upto;
    }
  }
}

struct PortableLoops {
  // out[x] = sum over taps of weights[t] * rows[t][x]; rows are `stride` apart.
  static void combine_rows(const uint8_t* rows, uint64_t stride, const int16_t* weights,
                           uint32_t count, uint64_t bytes, uint8_t* out) {
    for (uint64_t x = 0; x < bytes; ++x) {
      int32_t sum = 0;
      for (uint32_t t = 0; t < count; ++t) sum += weights[t] * rows[t * stride + x];
      out[x] = level(sum);
    }
  }
  // rgb = sum over taps of weights[t] * pixel t
  static void combine_pixels(const uint8_t* pixels, const int16_t* weights, uint32_t count,
                             uint8_t* rgb) {
    int32_t sums[3] = {0, 0, 0};
    for (uint32_t t = 0; t < count; ++t) {
      for (int c = 0; c < 3; ++c) sums[c] += weights[t] * pixels[4 * t + static_cast<uint32_t>(c)];
    }
    for (int c = 0; c < 3; ++c) rgb[c] = level(sums[c]);
  }
};

#if defined(__SSE2__)
struct Sse2Loops {
  static __m128i pair(const int16_t* weights) {
    return _mm_set1_epi32(
        static_cast<int>(static_cast<uint16_t>(weights[0]) |
                         (static_cast<uint32_t>(static_cast<uint16_t>(weights[1])) << 16)));
  }
  static __m128i rounded(__m128i sum) {
    return _mm_srai_epi32(_mm_add_epi32(sum, _mm_set1_epi32(kHalf)), kWeightBits);
  }
  static void combine_rows(const uint8_t* rows, uint64_t stride, const int16_t* weights,
                           uint32_t count, uint64_t bytes, uint8_t* out) {
    const __m128i zero = _mm_setzero_si128();
    uint64_t x = 0;
    for (; x + 16 <= bytes; x += 16) {
      __m128i sum[4] = {zero, zero, zero, zero};
      for (uint32_t t = 0; t < count; t += 2) {
        const __m128i weight = pair(weights + t);
        const uint8_t* row = rows + t * stride + x;
        const __m128i a = _mm_loadu_si128(reinterpret_cast<const __m128i*>(row));
        const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(row + stride));
        const __m128i low = _mm_unpacklo_epi8(a, b), high = _mm_unpackhi_epi8(a, b);
        sum[0] = _mm_add_epi32(sum[0], _mm_madd_epi16(_mm_unpacklo_epi8(low, zero), weight));
        sum[1] = _mm_add_epi32(sum[1], _mm_madd_epi16(_mm_unpackhi_epi8(low, zero), weight));
        sum[2] = _mm_add_epi32(sum[2], _mm_madd_epi16(_mm_unpacklo_epi8(high, zero), weight));
        sum[3] = _mm_add_epi32(sum[3], _mm_madd_epi16(_mm_unpackhi_epi8(high, zero), weight));
      }
      const __m128i low = _mm_packs_epi32(rounded(sum[0]), rounded(sum[1]));
      const __m128i high = _mm_packs_epi32(rounded(sum[2]), rounded(sum[3]));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out + x), _mm_packus_epi16(low, high));
    }
    PortableLoops::combine_rows(rows + x, stride, weights, count, bytes - x, out + x);
  }
  static void combine_pixels(const uint8_t* pixels, const int16_t* weights, uint32_t count,
                             uint8_t* rgb) {
    const __m128i zero = _mm_setzero_si128();
    __m128i sum = zero;
    for (uint32_t t = 0; t < count; t += 2) {
      const __m128i two = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(pixels + 4 * t));
      const __m128i mixed = _mm_unpacklo_epi8(two, _mm_srli_si128(two, 4));  // r0 r1 g0 g1 ...
      sum = _mm_add_epi32(sum, _mm_madd_epi16(_mm_unpacklo_epi8(mixed, zero), pair(weights + t)));
    }
    const __m128i words = _mm_packs_epi32(rounded(sum), zero);
    const auto packed = static_cast<uint32_t>(_mm_cvtsi128_si32(_mm_packus_epi16(words, zero)));
    std::memcpy(rgb, &packed, 3);
  }
};
using BaseLoops = Sse2Loops;
#else
using BaseLoops = PortableLoops;
#endif

void put(const uint8_t* rgb, const RgbTarget& target, uint32_t x, uint32_t y) {
  const uint32_t column = target.flip ? target.width - 1 - x : x;
  const uint64_t at = uint64_t{y} * target.width + column;
  if (target.layout == PixelLayout::kHwc) {
    std::memcpy(target.pixels + 3 * at, rgb, 3);
  } else {
    const uint64_t plane = uint64_t{target.width} * target.height;
    for (uint64_t c = 0; c < 3; ++c) target.pixels[c * plane + at] = rgb[c];
  }
}

// Weights past the taps are 0, but loads happen for all `count` of them: keep them inside the
// `size` pixels there are.
void keep_inside(ResampleScratch::Taps& taps, uint64_t size) {
  for (size_t i = 0; i < taps.first.size(); ++i) {
    if (uint64_t{taps.first[i]} + taps.count <= size) continue;
    const uint64_t first = size >= taps.count ? size - taps.count : 0;
    const uint64_t shift = taps.first[i] - first;
    int16_t* weights = &taps.weights[i * taps.count];
    std::rotate(weights, weights + taps.count - shift, weights + taps.count);
    taps.first[i] = static_cast<uint32_t>(first);
  }
}

// One row of the target from the combined row.
template <class Loops>
void finish_row(const RgbTarget& target, uint32_t y, ResampleScratch& scratch) {
  const auto& across = scratch.horizontal;
  for (uint32_t x = 0; x < target.width; ++x) {
    uint8_t rgb[4];
    Loops::combine_pixels(&scratch.row[uint64_t{across.first[x]} * 4],
                          &across.weights[uint64_t{x} * across.count], across.count, rgb);
    put(rgb, target, x, y);
  }
}

// BaseLoops where AVX2 has too little to do.
struct FastLoops {
  static void combine_rows(const uint8_t* rows, uint64_t stride, const int16_t* weights,
                           uint32_t count, uint64_t bytes, uint8_t* out) {
    const uint64_t done = Avx2Loops::combine_rows(rows, stride, weights, count, bytes, out);
    BaseLoops::combine_rows(rows + done, stride, weights, count, bytes - done, out + done);
  }
};

template <>
void finish_row<FastLoops>(const RgbTarget& target, uint32_t y, ResampleScratch& scratch) {
  Avx2Loops::combine_across(scratch.row.data(), scratch.horizontal, target.flip,
                            scratch.rgbx.data());
  Avx2Loops::store_row(scratch.rgbx.data(), target, y);
}

template <class Loops>
void run(const RgbxView& source, const CropPlan::Box& box, const CropPlan::Box& taps,
         const RgbTarget& target, ResampleScratch& scratch) {
  make_taps(box.left, box.right, taps.left, taps.right, target.width, scratch.horizontal);
  make_taps(box.top, box.bottom, taps.top, taps.bottom, target.height, scratch.vertical);
  const auto left = static_cast<uint32_t>(std::floor(taps.left));
  const auto right = std::min(static_cast<uint32_t>(std::ceil(taps.right)), source.width);
  const uint64_t width = right - left;
  auto& across = scratch.horizontal;
  auto& down = scratch.vertical;
  for (auto& first : across.first) first -= left;
  // The row has room for `count` pixels even where the image is narrower (the rest stays 0, its
  // weights too).
  const uint64_t row_pixels = std::max<uint64_t>(width, across.count);
  scratch.row.assign(row_pixels * 4 + Avx2Loops::kSlackBytes, 0);
  scratch.rgbx.resize(uint64_t{target.width} * 4);
  keep_inside(across, row_pixels);
  keep_inside(down, source.height);
  if constexpr (std::is_same_v<Loops, FastLoops>) Avx2Loops::widen(across);
  // An odd number of source rows with one more (zero) tap: combined from the rows there are.
  const bool short_column = down.count > source.height;
  for (uint32_t y = 0; y < target.height; ++y) {
    const uint8_t* rows = source.pixels + down.first[y] * source.stride + uint64_t{left} * 4;
    const int16_t* weights = &down.weights[uint64_t{y} * down.count];
    if (short_column) {
      PortableLoops::combine_rows(rows, source.stride, weights, source.height - down.first[y],
                                  width * 4, scratch.row.data());
    } else {
      Loops::combine_rows(rows, source.stride, weights, down.count, width * 4, scratch.row.data());
    }
    finish_row<Loops>(target, y, scratch);
  }
}

}  // namespace

void resample(const RgbxView& source, const CropPlan::Box& box, const CropPlan::Box& taps,
              const RgbTarget& target, ResampleScratch& scratch) {
  if (Avx2Loops::usable()) run<FastLoops>(source, box, taps, target, scratch);
  else run<BaseLoops>(source, box, taps, target, scratch);
}

void resample_sse2(const RgbxView& source, const CropPlan::Box& box, const CropPlan::Box& taps,
                   const RgbTarget& target, ResampleScratch& scratch) {
  run<BaseLoops>(source, box, taps, target, scratch);
}

void resample_portable(const RgbxView& source, const CropPlan::Box& box, const CropPlan::Box& taps,
                       const RgbTarget& target, ResampleScratch& scratch) {
  run<PortableLoops>(source, box, taps, target, scratch);
}

}  // namespace headrace
