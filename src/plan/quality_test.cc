// SPDX-License-Identifier: Apache-2.0
//
// Expected values: arithmetic on paper, and the figures that docs/ordering.md publishes.
#include "plan/quality.h"

#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <vector>

namespace headrace {
namespace {

std::shared_ptr<const ShardCounts> shards(std::vector<uint64_t> counts) {
  return std::make_shared<const ShardCounts>(std::move(counts));
}

std::vector<double> effects(const Order& order, const std::vector<uint32_t>& labels, uint64_t batch,
                            std::vector<uint64_t> windows) {
  const auto found = design_effect(order, labels, batch, windows);
  std::vector<double> values;
  for (const auto& d : found.value()) values.push_back(d.value());
  return values;
}

TEST(DesignEffect, OfSortedDataInStoredOrderIsWhatPaperSays) {
  const Order order = *Order::make(shards({8}), {.block = 4, .shuffle = Shuffle::kNone});
  const std::vector<uint32_t> labels = {0, 0, 0, 0, 1, 1, 1, 1};
  const std::vector<uint64_t> windows = {1, 2, 3};
  const auto d = *design_effect(order, labels, 2, windows);
  // Windows of 2: (2 - 1)^2 / 1 + (0 - 1)^2 / 1 = 2, over 6/7; of 4: 4 over 4/7; of 6 > N / 2.
  EXPECT_DOUBLE_EQ(d[0].value(), 2 / (6.0 / 7));
  EXPECT_DOUBLE_EQ(d[1].value(), 4 / (4.0 / 7));
  EXPECT_FALSE(d[2].has_value());
}

TEST(DesignEffect, IgnoresClassesThatNoSampleHasAndThePartialWindow) {
  const Order order = *Order::make(shards({9}), {.shuffle = Shuffle::kNone});
  // Windows of 3 of classes {5, 9}, sizes 6 and 3: (3 - 2)^2/2 + (0 - 1)^2/1 = 1.5 twice, then
  // (0 - 2)^2/2 + (3 - 1)^2/1 = 6; mean 3 over 6/8.
  EXPECT_DOUBLE_EQ(effects(order, {5, 5, 5, 5, 5, 5, 9, 9, 9}, 3, {1})[0], 3 / (6.0 / 8));
  // Windows of 4: two whole ones, (4 - 8/3)^2/(8/3) + (4/3)^2/(4/3) = 2 and
  // (2 - 8/3)^2/(8/3) + (2 - 4/3)^2/(4/3) = 0.5; the ninth sample is in none.
  EXPECT_DOUBLE_EQ(effects(order, {5, 5, 5, 5, 5, 5, 9, 9, 9}, 4, {1})[0], 1.25 / (5.0 / 8));
}

TEST(DesignEffect, OfATrueShuffleIsOne) {
  std::vector<uint32_t> labels(200'000);
  for (size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<uint32_t>(i / 2000);
  const Order order =
      *Order::make(shards({200'000}), {.seed = 4, .lanes = 840, .shuffle = Shuffle::kGlobal});
  // Standard error of D(1): sqrt(2 / (99 * 781)) = 0.005; of D(8): 0.014.
  const auto d = effects(order, labels, 256, {1, 8});
  EXPECT_NEAR(d[0], 1, 0.02);
  EXPECT_NEAR(d[1], 1, 0.06);
}

// docs/ordering.md, "Quality": class-sorted images, 1.28 M, 1,000 classes, batch 256. Published for
// shards and classes of random sizes; here all are equal, hence the tolerance.
TEST(DesignEffect, OfTheStratifiedOrderIsThePublishedOne) {
  constexpr uint64_t kShards = 1024, kEach = 1250;
  std::vector<uint32_t> labels(kShards * kEach);
  for (size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<uint32_t>(i / 1280);
  const auto counts = shards(std::vector<uint64_t>(kShards, kEach));
  const auto nine =
      effects(*Order::make(counts, {.block = 9, .lanes = 1680}), labels, 256, {1, 4, 16, 32, 64});
  const double published_nine[] = {0.81, 0.54, 0.81, 1.2, 1.5};
  const auto four =
      effects(*Order::make(counts, {.block = 4, .lanes = 4200}), labels, 256, {1, 4, 16, 32, 64});
  const double published_four[] = {0.80, 0.51, 0.22, 0.30, 0.38};
  for (int i = 0; i < 5; ++i) {
    EXPECT_NEAR(nine[i], published_nine[i], 0.06 * published_nine[i]) << i;
    EXPECT_NEAR(four[i], published_four[i], 0.06 * published_four[i]) << i;
  }
}

TEST(DesignEffect, SaysWhatItCannotCompute) {
  const Order order = *Order::make(shards({8}), {});
  const std::vector<uint64_t> windows = {1};
  const std::vector<uint32_t> same(8, 3), few(7), huge(8, ~0u);
  EXPECT_FALSE((*design_effect(order, same, 2, windows))[0].has_value());
  EXPECT_EQ(design_effect(order, few, 2, windows).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(design_effect(order, same, 0, windows).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(design_effect(order, huge, 2, windows).status().code(), Code::kInvalidArgument);
}

TEST(DesignEffectBound, FollowsItsClosedForm) {
  // For whole x = m b / L: 1 + (s - 1)(1 - (s + 1) / (3 l)), s = min(x, c), l = max(x, c).
  EXPECT_DOUBLE_EQ(design_effect_bound(1'000'000, 9, 256, 256, 4).value(), 1 + 3 * (1 - 5.0 / 27));
  EXPECT_DOUBLE_EQ(design_effect_bound(1'000'000, 4, 256, 256, 16).value(), 1 + 3 * (1 - 5.0 / 48));
  EXPECT_DOUBLE_EQ(design_effect_bound(1'000'000, 9, 1024, 256, 4).value(), 1);
  EXPECT_DOUBLE_EQ(design_effect_bound(1'000'000, 9, 256, 256, 4, 0.0).value(), 1);
  EXPECT_DOUBLE_EQ(design_effect_bound(1'000'000, 1, 256, 256, 64).value(), 1);
}

TEST(DesignEffectBound, IsSilentBeyondHalfAnEpoch) {
  EXPECT_TRUE(design_effect_bound(512, 2, 16, 256, 1).has_value());
  EXPECT_FALSE(design_effect_bound(511, 2, 16, 256, 1).has_value());
  EXPECT_FALSE(design_effect_bound(~uint64_t{0} >> 20, 2, 16, 1 << 30, ~uint64_t{0}).has_value());
}

TEST(DesignEffectBound, HoldsForBlocksInRandomOrder) {
  std::vector<uint32_t> labels(160'000);
  for (size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<uint32_t>(i / 1600);
  const Order order = *Order::make(
      shards({160'000}), {.seed = 1, .block = 16, .lanes = 256, .shuffle = Shuffle::kBlock});
  const auto d = effects(order, labels, 64, {1, 4, 16, 32});
  const uint64_t windows[] = {1, 4, 16, 32};
  for (int i = 0; i < 4; ++i) {
    EXPECT_LT(d[i], 1.2 * design_effect_bound(160'000, 16, 256, 64, windows[i]).value()) << i;
  }
  EXPECT_GT(d[3], 2);  // and the bound is not idle
}

TEST(BlockPairs, AreWhatPaperSays) {
  // One lag: 8 - 4 = 4 pairs a lane's width apart, of one block with probability 3/4.
  EXPECT_DOUBLE_EQ(block_pairs(1600, 4, 4, 8).expected, 3);
  EXPECT_DOUBLE_EQ(block_pairs(1600, 4, 8, 8).expected, 0);
  EXPECT_DOUBLE_EQ(block_pairs(16, 4, 4, 2).true_shuffle, 4.0 * 12 / (16 * 15));
  EXPECT_DOUBLE_EQ(block_pairs(18, 4, 4, 2).true_shuffle, (4.0 * 12 + 2) / (18 * 17));
  EXPECT_DOUBLE_EQ(block_pairs(1, 1, 1, 1).true_shuffle, 0);
}

TEST(BlockPairs, AreThoseOfTheOrder) {
  const Order order = *Order::make(shards({40'000}), {.seed = 2, .block = 7, .lanes = 30});
  constexpr uint64_t kBatch = 100;
  uint64_t pairs = 0, batches = 0;
  for (uint64_t p = 0; p + kBatch <= order.main_size(); p += kBatch, ++batches) {
    std::map<uint64_t, uint64_t> in_block;
    for (uint64_t q = p; q < p + kBatch; ++q) {
      pairs += in_block[order.segment_block(order.place(q).segment)]++;
    }
  }
  const double mean = static_cast<double>(pairs) / static_cast<double>(batches);
  EXPECT_NEAR(mean, block_pairs(40'000, 7, 30, kBatch).expected, 0.01 * mean);
}

}  // namespace
}  // namespace headrace
