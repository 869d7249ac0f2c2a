// SPDX-License-Identifier: Apache-2.0
#include "plan/integers.h"

#include <bit>
#include <numeric>
#include <utility>

#include "base/result.h"

namespace headrace {
namespace {

constexpr int kFeistelRounds = 8;
constexpr uint64_t kPermutationMax = uint64_t{1} << 63;

template <class T>
void shuffle_identity(std::span<T> out, uint64_t key) {
  std::iota(out.begin(), out.end(), T{0});
  OrderStream stream(key);
  for (uint64_t i = out.size(); i-- > 1;) std::swap(out[i], out[stream.bounded(i + 1)]);
}

// A draw of bounded(m), or "draw again".
struct Draw {
  uint64_t value;
  bool rejected;
};
inline Draw draw_below(uint64_t x, uint64_t m) {
  const auto product = static_cast<unsigned __int128>(x) * m;
  const auto low = static_cast<uint64_t>(product);
  return {static_cast<uint64_t>(product >> 64), low < m && low < (0 - m) % m};
}

// For the keys (about one in 2^64 / n^2) where a draw is rejected and every later draw moves by
// one.
[[gnu::noinline]] uint64_t shuffled_at_by_table(uint64_t n, uint64_t key, uint64_t i) {
  std::vector<uint32_t> table(n);
  shuffled(std::span<uint32_t>(table), key);
  return table[i];
}

}  // namespace

void shuffled(std::span<uint32_t> out, uint64_t key) {
  HR_ASSERT(out.size() <= kShuffledMax);
  shuffle_identity(out, key);
}

void shuffled(std::span<uint64_t> out, uint64_t key) { shuffle_identity(out, key); }

// Step m of Fisher-Yates (m = n-1, ..., 1) swaps places m and j(m) <= m, and no later step touches
// place m. So the element that ends in place i is the one that stands in place j(i) just before
// step i; followed backwards through the steps i+1,
// ..., n-1, it came from place m whenever it stands in place j(m). Step m takes draw n - m, if no
// draw before was rejected.
uint64_t shuffled_at(uint64_t n, uint64_t key, uint64_t i) {
  HR_ASSERT(i < n && n <= kShuffledMax);
  uint64_t place = 0;
  uint64_t state = key + (n - i) * kGolden;
  if (i > 0) {
    const Draw draw = draw_below(mix64(state), i + 1);
    if (draw.rejected) return shuffled_at_by_table(n, key, i);
    place = draw.value;
  }
  for (uint64_t m = i + 1; m < n; ++m) {
    state -= kGolden;
    const Draw draw = draw_below(mix64(state), m + 1);
    if (draw.rejected) return shuffled_at_by_table(n, key, i);
    if (draw.value == place) place = m;
  }
  return place;
}

Permutation::Permutation(uint64_t n, uint64_t key) : n_(n) {
  HR_ASSERT(n <= kPermutationMax);
  if (n <= kPermutationTableMax) {
    table_.resize(n);
    shuffled(std::span<uint32_t>(table_), key);
    return;
  }
  half_bits_ = (static_cast<uint32_t>(std::bit_width(n - 1)) + 1) / 2;
  for (int round = 0; round < kFeistelRounds; ++round) {
    round_keys_[round] = mix64(key + static_cast<uint64_t>(round + 1) * kGolden);
  }
}

uint64_t Permutation::operator()(uint64_t i) const {
  HR_ASSERT(i < n_);
  if (!table_.empty()) return table_[i];
  const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  uint64_t x = i;
  do {
    uint64_t left = x >> half_bits_, right = x & mask;
    for (int round = 0; round < kFeistelRounds; ++round) {
      left ^= mix64(right ^ round_keys_[round]) & mask;
      std::swap(left, right);
    }
    x = (left << half_bits_) | right;
  } while (x >= n_);
  return x;
}

// A walk down a binary tree whose node of n elements splits its indices in pairs: one of each pair
// goes to either half, by lot. An odd node gives its last index one element x by lot, and the two
// halves share the others; going up again, places from x on move by one. The way up needs the way
// down: at most 64 levels.
uint64_t spread(uint64_t i, uint64_t n, uint64_t key) {
  HR_ASSERT(i < n);
  constexpr uint64_t kNone = ~uint64_t{0};
  struct Level {
    uint64_t shift;
    uint64_t taken;
  } levels[64];
  int depth = 0;
  uint64_t node = 1, value = 0;
  while (n > 1) {
    const uint64_t h = mix64(key + node * kGolden);
    uint64_t taken = kNone;
    if (n % 2 == 1) {
      taken = scaled(mix64(h), n);
      if (i == n - 1) {
        value = taken;
        break;
      }
      n -= 1;
    }
    const uint64_t side = (i ^ mix64(h + (i / 2 + 1) * kGolden)) & 1;
    i /= 2;
    n /= 2;
    levels[depth++] = {side * n, taken};
    node = 2 * node + side;
  }
  while (depth > 0) {
    const Level& level = levels[--depth];
    value += level.shift;
    if (value >= level.taken) value += 1;  // kNone is above every value
  }
  return value;
}

}  // namespace headrace
