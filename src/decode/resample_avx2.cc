// SPDX-License-Identifier: Apache-2.0
#include "decode/resample_avx2.h"

#include <algorithm>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#define HR_AVX2 __attribute__((target("avx2")))

namespace headrace {
namespace {

constexpr int kWeightBits = 14;  // resample.cc
constexpr int kHalf = 1 << (kWeightBits - 1);

HR_AVX2 __m256i rounded(__m256i sum) {
  return _mm256_srai_epi32(_mm256_add_epi32(sum, _mm256_set1_epi32(kHalf)), kWeightBits);
}

HR_AVX2 __m256i twice(__m128i half) { return _mm256_broadcastsi128_si256(half); }

// Pixels n and n + 1 of four as r r g g b b x x, 16 bits each.
HR_AVX2 __m256i pair_mask(char n) {
  const char a = static_cast<char>(4 * n), b = static_cast<char>(a + 4), z = -1;
  return twice(_mm_setr_epi8(a, z, b, z, static_cast<char>(a + 1), z, static_cast<char>(b + 1), z,
                             static_cast<char>(a + 2), z, static_cast<char>(b + 2), z, static_cast<char>(a + 3), z,
                             static_cast<char>(b + 3), z));
}

__m128i load16(const void* from) { return _mm_loadu_si128(static_cast<const __m128i*>(from)); }

}  // namespace

bool Avx2Loops::usable() {
  static const bool has = __builtin_cpu_supports("avx2");
  return has;
}

// For output pixels x and x + 1: for each two taps, 4 x (w0 w1) of the one, 4 x (w0 w1) of the other. Taps are filled
// up to a multiple of 4 with zeros, pixels to a multiple of 2.
void Avx2Loops::widen(ResampleScratch::Taps& taps) {
  const size_t pixels = taps.first.size(), pairs = (taps.count + 3) / 4 * 2;
  taps.wide.assign((pixels + 1) / 2 * pairs * 16, 0);
  for (size_t x = 0; x < pixels; ++x) {
    const int16_t* from = &taps.weights[x * taps.count];
    for (size_t t = 0; t < taps.count; ++t) {
      int16_t* to = &taps.wide[(x / 2 * pairs + t / 2) * 16 + x % 2 * 8 + t % 2];
      for (int c = 0; c < 4; ++c) to[2 * c] = from[t];
    }
  }
}

HR_AVX2 uint64_t Avx2Loops::combine_rows(const uint8_t* rows, uint64_t stride, const int16_t* weights,
                                         uint32_t count, uint64_t bytes, uint8_t* out) {
  const __m256i zero = _mm256_setzero_si256();
  uint64_t x = 0;
  for (; x + 32 <= bytes; x += 32) {
    __m256i sum[4] = {zero, zero, zero, zero};
    for (uint32_t t = 0; t < count; t += 2) {
      int32_t two;
      std::memcpy(&two, weights + t, sizeof two);
      const __m256i weight = _mm256_set1_epi32(two);
      const uint8_t* row = rows + t * stride + x;
      const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(row));
      const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(row + stride));
      const __m256i low = _mm256_unpacklo_epi8(a, b), high = _mm256_unpackhi_epi8(a, b);
      sum[0] = _mm256_add_epi32(sum[0], _mm256_madd_epi16(_mm256_unpacklo_epi8(low, zero), weight));
      sum[1] = _mm256_add_epi32(sum[1], _mm256_madd_epi16(_mm256_unpackhi_epi8(low, zero), weight));
      sum[2] = _mm256_add_epi32(sum[2], _mm256_madd_epi16(_mm256_unpacklo_epi8(high, zero), weight));
      sum[3] = _mm256_add_epi32(sum[3], _mm256_madd_epi16(_mm256_unpackhi_epi8(high, zero), weight));
    }
    const __m256i low = _mm256_packs_epi32(rounded(sum[0]), rounded(sum[1]));
    const __m256i high = _mm256_packs_epi32(rounded(sum[2]), rounded(sum[3]));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + x), _mm256_packus_epi16(low, high));
  }
  return x;
}

HR_AVX2 void Avx2Loops::combine_across(const uint8_t* row, const ResampleScratch::Taps& taps, bool flip,
                                       uint8_t* rgbx) {
  const size_t pixels = taps.first.size(), quads = (taps.count + 3) / 4;
  const __m256i front = pair_mask(0), back = pair_mask(2);
  const int16_t* weight = taps.wide.data();
  for (size_t x = 0; x < pixels; x += 2) {
    const size_t other = std::min(x + 1, pixels - 1);
    const uint8_t *left = row + uint64_t{taps.first[x]} * 4, *right = row + uint64_t{taps.first[other]} * 4;
    __m256i sum = _mm256_setzero_si256();
    for (size_t q = 0; q < quads; ++q, weight += 32) {
      const __m256i four = _mm256_inserti128_si256(_mm256_castsi128_si256(load16(left + 16 * q)),
                                                   load16(right + 16 * q), 1);
      const auto* weights = reinterpret_cast<const __m256i*>(weight);
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_shuffle_epi8(four, front), _mm256_loadu_si256(weights)));
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_shuffle_epi8(four, back), _mm256_loadu_si256(weights + 1)));
    }
    const __m256i words = _mm256_packs_epi32(rounded(sum), rounded(sum));
    const __m256i bytes = _mm256_packus_epi16(words, words);
    const int32_t a = _mm256_extract_epi32(bytes, 0), b = _mm256_extract_epi32(bytes, 4);
    std::memcpy(rgbx + 4 * (flip ? pixels - 1 - other : other), &b, 4);
    std::memcpy(rgbx + 4 * (flip ? pixels - 1 - x : x), &a, 4);
  }
}

HR_AVX2 void Avx2Loops::store_row(const uint8_t* rgbx, const RgbTarget& target, uint32_t y) {
  const uint64_t at = uint64_t{y} * target.width, plane = uint64_t{target.width} * target.height;
  uint32_t x = 0;
  if (target.layout == PixelLayout::kHwc) {
    const __m128i dense = _mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1);
    uint8_t* to = target.pixels + 3 * at;
    // 16 bytes are stored for 12: what is past them is made later, and must be inside the target.
    for (; x + 4 <= target.width && 3 * (at + x) + 16 <= 3 * plane; x += 4) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 3 * x), _mm_shuffle_epi8(load16(rgbx + 4 * x), dense));
    }
    for (; x < target.width; ++x) std::memcpy(to + 3 * x, rgbx + 4 * x, 3);
    return;
  }
  const __m128i by_channel = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  uint8_t* to = target.pixels + at;
  for (; x + 4 <= target.width; x += 4) {
    const __m128i four = _mm_shuffle_epi8(load16(rgbx + 4 * x), by_channel);
    const int32_t r = _mm_extract_epi32(four, 0), g = _mm_extract_epi32(four, 1), b = _mm_extract_epi32(four, 2);
    std::memcpy(to + x, &r, 4);
    std::memcpy(to + plane + x, &g, 4);
    std::memcpy(to + 2 * plane + x, &b, 4);
  }
  for (; x < target.width; ++x) {
    for (uint64_t c = 0; c < 3; ++c) to[c * plane + x] = rgbx[4 * x + c];
  }
}

}  // namespace headrace

#else

namespace headrace {

bool Avx2Loops::usable() { return false; }
void Avx2Loops::widen(ResampleScratch::Taps&) {}
uint64_t Avx2Loops::combine_rows(const uint8_t*, uint64_t, const int16_t*, uint32_t, uint64_t, uint8_t*) { return 0; }
void Avx2Loops::combine_across(const uint8_t*, const ResampleScratch::Taps&, bool, uint8_t*) {}
void Avx2Loops::store_row(const uint8_t*, const RgbTarget&, uint32_t) {}

}  // namespace headrace

#endif
