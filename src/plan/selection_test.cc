// SPDX-License-Identifier: Apache-2.0
#include "plan/selection.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "plan/integers.h"
#include "plan/order.h"

namespace headrace {
namespace {

using Numbers = std::vector<uint64_t>;

// Samples of `samples` with a probability of parts / 64, by lot.
Numbers by_lot(uint64_t samples, uint64_t parts, uint64_t seed) {
  OrderStream stream(seed);
  Numbers words((samples + 63) / 64);
  for (uint64_t i = 0; i < samples; ++i) {
    if (stream.bounded(64) < parts) words[i / 64] |= uint64_t{1} << (i % 64);
  }
  return words;
}

Numbers listed(const Numbers& words, uint64_t samples) {
  Numbers list;
  for (uint64_t i = 0; i < samples; ++i) {
    if ((words[i / 64] >> (i % 64) & 1) != 0) list.push_back(i);
  }
  return list;
}

Selection made(Numbers words, uint64_t samples) {
  auto selection = Selection::make(std::move(words), samples);
  EXPECT_TRUE(selection.ok()) << selection.status().message();
  return *std::move(selection);
}

TEST(Selection, KnowsWhatAListOfItKnows) {
  for (const uint64_t samples : {1, 63, 64, 65, 511, 512, 513, 1024, 5000}) {
    for (const uint64_t parts : {0, 1, 32, 63, 64}) {
      const Numbers words = by_lot(samples, parts, samples * 100 + parts);
      const Numbers list = listed(words, samples);
      const Selection selection = made(words, samples);
      ASSERT_EQ(selection.size(), list.size());
      ASSERT_EQ(selection.samples(), samples);
      for (uint64_t i = 0; i < list.size(); ++i) ASSERT_EQ(selection.sample(i), list[i]);
      uint64_t below = 0;
      for (uint64_t i = 0; i < samples; ++i) {
        ASSERT_EQ(selection.rank(i), below);
        const bool has = below < list.size() && list[below] == i;
        ASSERT_EQ(selection.has(i), has);
        below += has ? 1 : 0;
      }
      ASSERT_EQ(selection.rank(samples), list.size());
    }
  }
}

TEST(Selection, FindsAcrossLongGaps) {
  const uint64_t samples = 1'000'000;
  Numbers words(samples / 64);
  words[7] = 1;                      // 448
  words.back() = uint64_t{1} << 63;  // 999,999
  const Selection selection = made(words, samples);
  EXPECT_EQ(selection.sample(0), 448u);
  EXPECT_EQ(selection.sample(1), 999'999u);
  EXPECT_EQ(selection.rank(999'999), 1u);
}

TEST(Selection, OfNothingAndOfAnEmptyDataSet) {
  EXPECT_EQ(made({}, 0).size(), 0u);
  EXPECT_EQ(made({}, 0).rank(0), 0u);
  EXPECT_EQ(made({0}, 10).size(), 0u);
}

TEST(Selection, RefusesWordsOfAnotherDataSet) {
  const auto message = [](Numbers words, uint64_t samples) {
    return Selection::make(std::move(words), samples).status().message();
  };
  EXPECT_NE(message({1, 2}, 64).find("2 words of 64 bits, 64 samples need 1"), std::string::npos);
  EXPECT_NE(message({}, 1).find("0 words"), std::string::npos);
  EXPECT_NE(message({uint64_t{1} << 10}, 10).find("beyond the last sample"), std::string::npos);
  EXPECT_NE(message({}, kSamplesMax + 1).find("at most"), std::string::npos);
  EXPECT_TRUE(Selection::make({uint64_t{1} << 9}, 10).ok());
}

TEST(Selection, CountsByShard) {
  // Samples 1 3 4 8 of shards 0-2, 3-3, none, 4-8.
  const Selection selection = made({0b1'0001'1010}, 9);
  const auto counts = selection.counts(ShardCounts({3, 1, 0, 5}));
  ASSERT_TRUE(counts.ok());
  EXPECT_EQ(counts->shards(), 4u);
  EXPECT_EQ(counts->count(0), 1u);
  EXPECT_EQ(counts->count(1), 1u);
  EXPECT_EQ(counts->count(2), 0u);
  EXPECT_EQ(counts->count(3), 2u);
  EXPECT_NE(selection.counts(ShardCounts({3, 1})).status().message().find("has 4"),
            std::string::npos);
}

TEST(Selection, HashIsOfContent) {
  const Hash128 hash = made({0b1010}, 9).hash();
  EXPECT_EQ(made({0b1010}, 9).hash(), hash);
  EXPECT_NE(made({0b1011}, 9).hash(), hash);
  EXPECT_NE(made({0b1010}, 10).hash(), hash);  // another data set
}

// The order over a selection is the order of a data set that holds the selected samples alone.
TEST(Selection, TheOrderRunsOverTheSubset) {
  const Numbers shards = {40, 0, 70, 13, 1, 90};
  const uint64_t samples = 214;
  for (const uint64_t parts : {10, 40, 64}) {
    const Numbers words = by_lot(samples, parts, parts);
    const Selection selection = made(words, samples);
    // The filtered data set, written down shard by shard.
    Numbers list, counts;
    uint64_t first = 0;
    for (const uint64_t n : shards) {
      counts.push_back(0);
      for (uint64_t i = first; i < first + n; ++i) {
        if ((words[i / 64] >> (i % 64) & 1) == 0) continue;
        list.push_back(i);
        ++counts.back();
      }
      first += n;
    }
    const OrderSpec spec{.seed = 5, .epoch = 2, .block = 4, .lanes = 7};
    const auto filtered = Order::make(std::make_shared<const ShardCounts>(counts), spec);
    const auto subset = Order::make(
        std::make_shared<const ShardCounts>(*selection.counts(ShardCounts(shards))), spec);
    ASSERT_TRUE(filtered.ok() && subset.ok());
    ASSERT_EQ(subset->size(), list.size());
    for (uint64_t p = 0; p < subset->size(); ++p) {
      EXPECT_EQ(selection.sample(subset->at(p)), list[filtered->at(p)]);
    }
  }
}

TEST(Fold, PartsAreDisjointWholeAndNested) {
  const uint64_t samples = 1000;
  Numbers all((samples + 63) / 64);
  for (uint64_t fold = 0; fold < 5; ++fold) {
    const Numbers words = hash_fold(samples, 7, fold, fold + 1, 5);
    const Numbers finer = hash_fold(samples, 7, 20 * fold, 20 * fold + 20, 100);
    EXPECT_EQ(words, finer);
    for (size_t i = 0; i < all.size(); ++i) {
      EXPECT_EQ(all[i] & words[i], 0u);
      all[i] |= words[i];
    }
  }
  EXPECT_EQ(all, hash_fold(samples, 7, 0, 1, 1));
  EXPECT_EQ(listed(all, samples).size(), samples);
  EXPECT_NE(hash_fold(samples, 7, 0, 1, 5), hash_fold(samples, 8, 0, 1, 5));
}

TEST(Fold, StaysWhenTheDataSetGrows) {
  const Numbers before = hash_fold(640, 3, 0, 1, 10), after = hash_fold(6400, 3, 0, 1, 10);
  EXPECT_TRUE(std::equal(before.begin(), before.end(), after.begin()));
}

TEST(Fold, GroupsStayTogetherAndSampleNumbersAreGroupsOfOne) {
  const Numbers groups = {5, 5, 9, 5, 9, 1u << 30};
  for (uint64_t fold = 0; fold < 4; ++fold) {
    const Numbers words = hash_fold_of_groups(groups, 1, fold, fold + 1, 4);
    for (size_t i = 0; i < groups.size(); ++i) {
      EXPECT_EQ((words[0] >> i & 1) != 0, fold_of(groups[i], 1, 4) == fold);
    }
  }
  const Numbers numbers = {0, 1, 2, 3, 4, 5, 6, 7};
  EXPECT_EQ(hash_fold_of_groups(numbers, 9, 1, 2, 3), hash_fold(8, 9, 1, 2, 3));
}

// 10^6 samples in 20 folds: chi-square of the sizes and of the pairs of neighbours. 19 degrees of
// freedom have a standard deviation of sqrt(38), 399 of sqrt(798).
TEST(Fold, SizesAndNeighboursAreByChance) {
  constexpr uint64_t kFolds = 20, kSamples = 1'000'000;
  for (const uint64_t seed : {0, 1, 12345}) {
    Numbers sizes(kFolds), pairs(kFolds * kFolds);
    uint64_t last = 0;
    for (uint64_t i = 0; i < kSamples; ++i) {
      const uint64_t fold = fold_of(i, seed, kFolds);
      ++sizes[fold];
      if (i > 0) ++pairs[last * kFolds + fold];
      last = fold;
    }
    const auto chi_square = [](const Numbers& found, double each) {
      double sum = 0;
      for (const uint64_t n : found) sum += (n - each) * (n - each) / each;
      return sum;
    };
    EXPECT_LT(std::abs(chi_square(sizes, kSamples / 20.0) - 19) / std::sqrt(38.0), 4);
    EXPECT_LT(std::abs(chi_square(pairs, (kSamples - 1) / 400.0) - 399) / std::sqrt(798.0), 4);
  }
}

}  // namespace
}  // namespace headrace
