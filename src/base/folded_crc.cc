// SPDX-License-Identifier: Apache-2.0
//
// Both CRCs are reflected, so one text serves them. With PCLMULQDQ a 128-bit register R stands for a polynomial (its
// bit i is the coefficient of x^(127-i)); moving it D bits on is R x^D = L x^(64+D) + H x^D, and each half is one
// carry-less product with a constant modulo the CRC's polynomial. The product of two reflected 64-bit values comes out
// one bit too far, hence the D - 1 below. Four registers side by side hide the instruction's latency (the idea of Gopal
// et al., "Fast CRC Computation Using PCLMULQDQ", Intel 2009). What is left, 16 bytes and the tail, goes through the
// byte tables that also serve other machines.
#include "base/folded_crc.h"

#include <array>
#include <cstddef>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base/endian.h"

namespace headrace {
namespace {

// Word: of the CRC's width; kPoly: the polynomial, reflected, without its highest term.
struct Crc64Nvme {
  using Word = uint64_t;
  static constexpr Word kPoly = 0x9A6C9329AC4BC9B5;
};
struct Crc32Ieee {
  using Word = uint32_t;
  static constexpr Word kPoly = 0xEDB88320;
};

template <class Crc>
constexpr std::array<std::array<typename Crc::Word, 256>, 8> make_tables() {
  using Word = typename Crc::Word;
  std::array<std::array<Word, 256>, 8> t{};
  for (uint32_t i = 0; i < 256; ++i) {
    Word c = i;
    for (int k = 0; k < 8; ++k) c = (c & 1) ? (c >> 1) ^ Crc::kPoly : c >> 1;
    t[0][i] = c;
  }
  for (uint32_t i = 0; i < 256; ++i) {
    for (size_t k = 1; k < 8; ++k) t[k][i] = (t[k - 1][i] >> 8) ^ t[0][t[k - 1][i] & 0xFF];
  }
  return t;
}

template <class Crc>
typename Crc::Word by_table(typename Crc::Word crc, const std::byte* p, size_t n) {
  static constexpr auto kTables = make_tables<Crc>();
  for (; n >= 8; p += 8, n -= 8) {
    const uint64_t w = load_le<uint64_t>(p) ^ crc;
    crc = kTables[7][w & 0xFF] ^ kTables[6][(w >> 8) & 0xFF] ^ kTables[5][(w >> 16) & 0xFF] ^
          kTables[4][(w >> 24) & 0xFF] ^ kTables[3][(w >> 32) & 0xFF] ^ kTables[2][(w >> 40) & 0xFF] ^
          kTables[1][(w >> 48) & 0xFF] ^ kTables[0][w >> 56];
  }
  for (; n > 0; ++p, --n) crc = (crc >> 8) ^ kTables[0][(crc ^ static_cast<uint8_t>(*p)) & 0xFF];
  return crc;
}

#if defined(__x86_64__)
// x^power modulo the polynomial, as the 64 bits that a register's half holds.
template <class Crc>
constexpr uint64_t x_to(uint32_t power) {
  using Word = typename Crc::Word;
  constexpr uint32_t kBits = 8 * sizeof(Word);
  Word v = Word{1} << (kBits - 1);  // x^0
  for (uint32_t i = 0; i < power; ++i) v = (v & 1) ? (v >> 1) ^ Crc::kPoly : v >> 1;
  return uint64_t{v} << (64 - kBits);
}

#define HR_PCLMUL __attribute__((target("sse4.2,pclmul")))

// The register `bits` further on, where the next data are added.
template <class Crc, uint32_t bits>
HR_PCLMUL inline __m128i moved(__m128i reg, __m128i data) {
  const __m128i by = _mm_set_epi64x(static_cast<int64_t>(x_to<Crc>(bits - 1)),
                                    static_cast<int64_t>(x_to<Crc>(64 + bits - 1)));
  return _mm_xor_si128(_mm_xor_si128(_mm_clmulepi64_si128(reg, by, 0x00), _mm_clmulepi64_si128(reg, by, 0x11)), data);
}

HR_PCLMUL inline __m128i load(const std::byte* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }

constexpr size_t kFoldMin = 128;  // below this the tables are as fast

template <class Crc>
HR_PCLMUL typename Crc::Word by_folding(typename Crc::Word crc, const std::byte* p, size_t n) {
  __m128i a = _mm_xor_si128(load(p), _mm_set_epi64x(0, static_cast<int64_t>(uint64_t{crc})));
  __m128i b = load(p + 16), c = load(p + 32), d = load(p + 48);
  for (p += 64, n -= 64; n >= 64; p += 64, n -= 64) {
    a = moved<Crc, 512>(a, load(p));
    b = moved<Crc, 512>(b, load(p + 16));
    c = moved<Crc, 512>(c, load(p + 32));
    d = moved<Crc, 512>(d, load(p + 48));
  }
  a = moved<Crc, 128>(moved<Crc, 128>(moved<Crc, 128>(a, b), c), d);
  for (; n >= 16; p += 16, n -= 16) a = moved<Crc, 128>(a, load(p));
  std::byte rest[16];
  _mm_storeu_si128(reinterpret_cast<__m128i*>(rest), a);
  return by_table<Crc>(by_table<Crc>(0, rest, sizeof rest), p, n);
}

bool can_fold() {
  static const bool can = __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.2");
  return can;
}
#endif

template <class Crc>
typename Crc::Word crc_of(Bytes data, typename Crc::Word crc) {
  crc = static_cast<typename Crc::Word>(~crc);
#if defined(__x86_64__)
  if (data.size() >= kFoldMin && can_fold()) {
    return static_cast<typename Crc::Word>(~by_folding<Crc>(crc, data.data(), data.size()));
  }
#endif
  return static_cast<typename Crc::Word>(~by_table<Crc>(crc, data.data(), data.size()));
}

}  // namespace

uint64_t crc64nvme(Bytes data, uint64_t crc) { return crc_of<Crc64Nvme>(data, crc); }

uint32_t crc32_ieee(Bytes data, uint32_t crc) { return crc_of<Crc32Ieee>(data, crc); }

}  // namespace headrace
