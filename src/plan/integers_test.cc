// SPDX-License-Identifier: Apache-2.0
//
// Expected values: docs/ordering.md "Integers", whose golden values two independent implementations
// agree on.
#include "plan/integers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

namespace headrace {
namespace {

using Numbers = std::vector<uint64_t>;

uint64_t blocks_key(uint64_t seed, uint64_t epoch) {
  return order_key(seed, epoch, OrderTag::kBlocks, 0);
}

Numbers spread_of(Numbers indices, uint64_t n, uint64_t key) {
  for (uint64_t& i : indices) i = spread(i, n, key);
  return indices;
}

Numbers first_of(const Permutation& permutation, uint64_t count) {
  Numbers values(count);
  for (uint64_t i = 0; i < count; ++i) values[i] = permutation(i);
  return values;
}

bool is_permutation_of_range(Numbers values) {
  std::sort(values.begin(), values.end());
  for (uint64_t i = 0; i < values.size(); ++i) {
    if (values[i] != i) return false;
  }
  return true;
}

TEST(Integers, MixAndKeyHaveThePublishedValues) {
  static_assert(mix64(1) == 0x5692161d100b05e5);  // also SplitMix64's own
  EXPECT_EQ(blocks_key(0, 0), 0x62a4ed4055d278dbu);
  EXPECT_EQ(order_key(1, 2, OrderTag::kMixture, 4), 0x336c3255cbcc01feu);
}

TEST(Integers, TheMixtureSeedOfWebUnderSeed7IsThePublishedOne) {
  // The first 8 bytes, little-endian, of SHA-256("web") = 4b5e57f6eb2f42b9...
  const uint64_t id = 0xb9422febf6575e4b;
  EXPECT_EQ(order_key(7, 0, OrderTag::kMixtureSeed, id), 12878351002465490008u);
}

TEST(Integers, ShuffledHasThePublishedValues) {
  Numbers ten(10);
  shuffled(std::span<uint64_t>(ten), blocks_key(0, 0));
  EXPECT_EQ(ten, (Numbers{3, 5, 4, 1, 6, 0, 2, 8, 7, 9}));

  std::vector<uint32_t> eight(8);
  shuffled(std::span<uint32_t>(eight), order_key(0, 0, OrderTag::kMixture, 0));
  EXPECT_EQ(eight, (std::vector<uint32_t>{0, 5, 6, 3, 1, 4, 7, 2}));
}

TEST(Integers, OneElementOfAShuffleIsThatOfTheWholeTable) {
  for (uint64_t n : {1, 2, 3, 5, 9, 64, 257}) {
    for (uint64_t key : {uint64_t{0}, uint64_t{1}, blocks_key(9, 9)}) {
      Numbers table(n);
      shuffled(std::span<uint64_t>(table), key);
      for (uint64_t i = 0; i < n; ++i) EXPECT_EQ(shuffled_at(n, key, i), table[i]) << n << " " << i;
    }
  }
}

TEST(Integers, ARejectedDrawMovesTheLaterOnesInBothForms) {
  // mix64(0) == 0, so draw t of the key -t * kGolden is 0, which bounded(m) rejects unless m is a
  // power of two.
  for (uint64_t t = 1; t <= 12; ++t) {
    const uint64_t key = 0 - t * kGolden;
    Numbers table(13), naive(13);
    std::iota(naive.begin(), naive.end(), 0);
    uint64_t state = key;
    for (uint64_t i = 12; i >= 1; --i) {
      uint64_t x = mix64(state += kGolden);
      const bool power_of_two = ((i + 1) & i) == 0;
      if (x == 0 && !power_of_two) x = mix64(state += kGolden);
      std::swap(naive[i], naive[scaled(x, i + 1)]);
    }

    shuffled(std::span<uint64_t>(table), key);

    EXPECT_EQ(table, naive) << t;
    for (uint64_t i = 0; i < 13; ++i) EXPECT_EQ(shuffled_at(13, key, i), naive[i]) << t << " " << i;
  }
}

TEST(Integers, PermutationHasThePublishedValues) {
  const uint64_t key = blocks_key(7, 3);
  EXPECT_EQ(first_of(Permutation(1'000'000, key), 8),
            (Numbers{682123, 500581, 211069, 542598, 342922, 911579, 338175, 323165}));
  EXPECT_EQ(first_of(Permutation(uint64_t{1} << 33, key), 4),
            (Numbers{8268966505, 1809164644, 1166340330, 3119861463}));
  EXPECT_EQ(first_of(Permutation(65536, key), 4), (Numbers{10689, 40008, 59335, 52990}));
  EXPECT_EQ(first_of(Permutation(65537, key), 4), (Numbers{3968, 58403, 36849, 21657}));
  EXPECT_EQ(first_of(Permutation(uint64_t{1} << 34, key), 4),
            (Numbers{13890634808, 9064804857, 12926976690, 16610448004}));
}

TEST(Integers, PermutationMapsOntoItsRange) {
  for (uint64_t n : {1, 2, 3, 1000, 65536, 65537, 70001, 131072}) {
    EXPECT_TRUE(is_permutation_of_range(first_of(Permutation(n, 5), n))) << n;
  }
  EXPECT_EQ(Permutation().size(), 0u);
}

TEST(Integers, SpreadHasThePublishedValues) {
  EXPECT_EQ(spread_of({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, 13, blocks_key(0, 0)),
            (Numbers{5, 7, 1, 12, 0, 6, 11, 4, 10, 3, 2, 9, 8}));
  EXPECT_EQ(
      spread_of({0, 1, 2, 3, 4, 5, 6, 7, 999998, 999999}, 1'000'000, blocks_key(7, 3)),
      (Numbers{264456, 542543, 139528, 917139, 107208, 657509, 454635, 763845, 332353, 650792}));
}

TEST(Integers, SpreadMapsOntoItsRange) {
  for (uint64_t n = 1; n <= 300; ++n) {
    Numbers indices(n);
    std::iota(indices.begin(), indices.end(), 0);
    EXPECT_TRUE(is_permutation_of_range(spread_of(indices, n, n * 77))) << n;
  }
}

TEST(Integers, AlignedRunsOfSpreadVisitEveryStratum) {
  // n = 5 * 2^7: a run of 2^a indices aligned to 2^a takes one element of each of 2^a equal strata.
  constexpr uint64_t n = 640;
  for (uint64_t run : {2, 4, 8, 16, 32, 64, 128}) {
    for (uint64_t begin = 0; begin + run <= n; begin += run) {
      std::vector<int> seen(run, 0);
      for (uint64_t i = begin; i < begin + run; ++i) ++seen[spread(i, n, 3) / (n / run)];
      EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), static_cast<int64_t>(run)) << begin;
    }
  }
}

TEST(Integers, SpreadPutsEveryElementEquallyOftenAtAnIndex) {
  // chi-square over 2,000 keys; 12 degrees of freedom: 32.9 is the 99.9 % quantile.
  constexpr int kKeys = 2000;
  for (uint64_t i : {0, 5, 12}) {
    std::vector<int> seen(13, 0);
    for (int key = 0; key < kKeys; ++key) ++seen[spread(i, 13, mix64(static_cast<uint64_t>(key)))];
    double chi_square = 0;
    for (int count : seen)
      chi_square += (count - kKeys / 13.0) * (count - kKeys / 13.0) / (kKeys / 13.0);
    EXPECT_LT(chi_square, 32.9) << i;
  }
}

}  // namespace
}  // namespace headrace
