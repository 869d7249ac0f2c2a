// SPDX-License-Identifier: Apache-2.0
//
// Three ways, by what the machine has; GB/s of one core, bytes in its L2 cache / in memory:
//   AVX-512 + VPCLMULQDQ  110 / 12  four 512-bit registers folded over the data (the idea of base/folded_crc.cc)
//   SSE4.2                 28 / 7   the crc32 instruction has a latency of 3 cycles and a throughput of 1, so three
//                                   independent streams run side by side and are joined by multiplying with x^(8*n)
//                                   (as in Mark Adler's crc32c.c, zlib licence, idea only)
//   byte tables             1.5
#include "base/crc32c.h"

#include <array>
#include <cstddef>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base/endian.h"

namespace headrace {
namespace {

constexpr uint32_t kPoly = 0x82F63B78;  // reflected

constexpr std::array<std::array<uint32_t, 256>, 8> make_tables() {
  std::array<std::array<uint32_t, 256>, 8> t{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t c = i;
    for (int k = 0; k < 8; ++k) c = (c & 1) ? (c >> 1) ^ kPoly : c >> 1;
    t[0][i] = c;
  }
  for (uint32_t i = 0; i < 256; ++i) {
    for (size_t k = 1; k < 8; ++k) t[k][i] = (t[k - 1][i] >> 8) ^ t[0][t[k - 1][i] & 0xFF];
  }
  return t;
}
constexpr auto kTables = make_tables();

uint32_t crc_table(uint32_t crc, const std::byte* p, size_t n) {
  while (n >= 8) {
    const uint64_t w = load_le<uint64_t>(p) ^ crc;
    crc = kTables[7][w & 0xFF] ^ kTables[6][(w >> 8) & 0xFF] ^ kTables[5][(w >> 16) & 0xFF] ^
          kTables[4][(w >> 24) & 0xFF] ^ kTables[3][(w >> 32) & 0xFF] ^ kTables[2][(w >> 40) & 0xFF] ^
          kTables[1][(w >> 48) & 0xFF] ^ kTables[0][w >> 56];
    p += 8;
    n -= 8;
  }
  while (n-- > 0) crc = (crc >> 8) ^ kTables[0][(crc ^ static_cast<uint32_t>(*p++)) & 0xFF];
  return crc;
}

#if defined(__x86_64__)
constexpr size_t kLane = 2048;  // bytes of each of the three streams in one step

// The operator "append kLane zero bytes" as four byte tables.
using Shift = std::array<std::array<uint32_t, 256>, 4>;
constexpr Shift make_shift(size_t bytes) {
  Shift s{};
  for (uint32_t k = 0; k < 4; ++k) {
    std::array<uint32_t, 8> bit{};
    for (uint32_t b = 0; b < 8; ++b) {
      uint32_t c = (1u << b) << (8 * k);
      for (size_t i = 0; i < bytes; ++i) c = (c >> 8) ^ kTables[0][c & 0xFF];
      bit[b] = c;
    }
    for (uint32_t v = 0; v < 256; ++v) {
      uint32_t c = 0;
      for (uint32_t b = 0; b < 8; ++b) {
        if (v & (1u << b)) c ^= bit[b];
      }
      s[k][v] = c;
    }
  }
  return s;
}
const Shift kShift = make_shift(kLane);

inline uint32_t shifted(uint32_t c) {
  return kShift[0][c & 0xFF] ^ kShift[1][(c >> 8) & 0xFF] ^ kShift[2][(c >> 16) & 0xFF] ^
         kShift[3][c >> 24];
}

__attribute__((target("sse4.2"))) uint32_t crc_sse42(uint32_t crc, const std::byte* p, size_t n) {
  while (n >= 3 * kLane) {
    uint64_t a = crc, b = 0, c = 0;
    for (size_t i = 0; i < kLane; i += 8) {
      a = _mm_crc32_u64(a, load_le<uint64_t>(p + i));
      b = _mm_crc32_u64(b, load_le<uint64_t>(p + kLane + i));
      c = _mm_crc32_u64(c, load_le<uint64_t>(p + 2 * kLane + i));
    }
    crc = shifted(static_cast<uint32_t>(a)) ^ static_cast<uint32_t>(b);
    crc = shifted(crc) ^ static_cast<uint32_t>(c);
    p += 3 * kLane;
    n -= 3 * kLane;
  }
  uint64_t a = crc;
  for (; n >= 8; p += 8, n -= 8) a = _mm_crc32_u64(a, load_le<uint64_t>(p));
  crc = static_cast<uint32_t>(a);
  for (; n > 0; ++p, --n) crc = _mm_crc32_u8(crc, static_cast<uint8_t>(*p));
  return crc;
}

// x^power modulo the polynomial, as the 64 bits that half of a 128-bit lane holds.
constexpr uint64_t x_to(uint32_t power) {
  uint32_t v = 1u << 31;  // x^0
  for (uint32_t i = 0; i < power; ++i) v = (v & 1) ? (v >> 1) ^ kPoly : v >> 1;
  return uint64_t{v} << 32;
}

#define HR_WIDE __attribute__((target("avx512f,avx512vl,vpclmulqdq,pclmul,sse4.2")))

// Each of the four lanes `bits` further on, where the next data are added. The product of two reflected values comes
// out one bit too far, hence the - 1.
template <uint32_t bits>
HR_WIDE inline __m512i moved(__m512i reg, __m512i data) {
  constexpr auto kHigh = static_cast<int64_t>(x_to(64 + bits - 1)), kLow = static_cast<int64_t>(x_to(bits - 1));
  const __m512i by = _mm512_set_epi64(kLow, kHigh, kLow, kHigh, kLow, kHigh, kLow, kHigh);
  constexpr int kXorOfThree = 0x96;
  return _mm512_ternarylogic_epi64(_mm512_clmulepi64_epi128(reg, by, 0x00), _mm512_clmulepi64_epi128(reg, by, 0x11),
                                   data, kXorOfThree);
}

HR_WIDE inline __m512i load64(const std::byte* p) { return _mm512_loadu_si512(p); }

constexpr size_t kWideStep = 256;  // four registers
constexpr size_t kWideMin = 2 * kWideStep;
// Ahead of bytes that come from memory; of 512 to 4096 the best by a little.
constexpr size_t kPrefetchBytes = 1024;

HR_WIDE uint32_t crc_wide(uint32_t crc, const std::byte* p, size_t n) {
  __m512i a = _mm512_xor_si512(load64(p), _mm512_zextsi128_si512(_mm_cvtsi32_si128(static_cast<int>(crc))));
  __m512i b = load64(p + 64), c = load64(p + 128), d = load64(p + 192);
  for (p += kWideStep, n -= kWideStep; n >= kWideStep; p += kWideStep, n -= kWideStep) {
    for (size_t line = 0; line < kWideStep; line += 64) {
      _mm_prefetch(reinterpret_cast<const char*>(p + kPrefetchBytes + line), _MM_HINT_T0);
    }
    a = moved<2048>(a, load64(p));
    b = moved<2048>(b, load64(p + 64));
    c = moved<2048>(c, load64(p + 128));
    d = moved<2048>(d, load64(p + 192));
  }
  a = moved<512>(moved<512>(moved<512>(a, b), c), d);
  // The 64 bytes of `a` have the CRC of all that was folded into them; the crc32 instruction does those and the tail.
  std::byte rest[64];
  _mm512_storeu_si512(rest, a);
  return crc_sse42(crc_sse42(0, rest, sizeof rest), p, n);
}
#endif

}  // namespace

uint32_t crc32c(Bytes data, uint32_t crc) {
  crc = ~crc;
#if defined(__x86_64__)
  static const bool has_sse42 = __builtin_cpu_supports("sse4.2");
  static const bool has_wide = has_sse42 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                               __builtin_cpu_supports("vpclmulqdq");
  if (has_wide && data.size() >= kWideMin) return ~crc_wide(crc, data.data(), data.size());
  if (has_sse42) return ~crc_sse42(crc, data.data(), data.size());
#endif
  return ~crc_table(crc, data.data(), data.size());
}

namespace {

// a times b modulo the CRC's polynomial; bit 31 is x^0 (reflected).
uint32_t multiply_mod(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (uint32_t bit = 1u << 31; bit != 0; bit >>= 1) {
    if (a & bit) product ^= b;
    b = (b >> 1) ^ ((b & 1) ? kPoly : 0);
  }
  return product;
}

// x^(8 v 256^k) for each byte value v at place k: a length becomes at most eight factors.
using Powers = std::array<std::array<uint32_t, 256>, 8>;
Powers make_powers() {
  Powers powers;
  uint32_t step = 1u << 23;  // x^8
  for (auto& place : powers) {
    place[0] = 1u << 31;
    for (size_t v = 1; v < 256; ++v) place[v] = multiply_mod(place[v - 1], step);
    step = multiply_mod(place[255], step);
  }
  return powers;
}

}  // namespace

uint32_t crc32c_join(uint32_t crc_a, uint32_t crc_b, uint64_t bytes_b) {
  static const Powers powers = make_powers();
  for (size_t place = 0; bytes_b != 0; ++place, bytes_b >>= 8) {
    const uint32_t v = bytes_b & 0xFF;
    if (v != 0) crc_a = multiply_mod(powers[place][v], crc_a);
  }
  return crc_a ^ crc_b;
}

}  // namespace headrace
