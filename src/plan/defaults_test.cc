// SPDX-License-Identifier: Apache-2.0
//
// Worked examples: the arithmetic of docs/ordering.md "Defaults", done on paper in the comments.
#include "plan/defaults.h"

#include <gtest/gtest.h>

#include <string>

namespace headrace {
namespace {

constexpr uint64_t kMiB = 1 << 20, kGiB = 1 << 30;

Defaults chosen(const DefaultsSpec& spec) { return *choose_defaults(spec); }

bool says(const Defaults& defaults, const std::string& words) {
  for (const std::string& reason : defaults.reasons) {
    if (reason.find(words) != std::string::npos) return true;
  }
  return false;
}

TEST(Defaults, ForImagesOnOneRank) {
  // Lanes may use 3/4 GiB = 805,306,368. B = that / (0.56 * 32 * 256) = 175,542, so 262,144;
  // c = 262,144 / 115,000 = 2. L by memory 805,306,368 / 128,800 = 6,252, by rows 1,281,167 / 64 =
  // 20,018: 7 * 840 = 5,880. T = 640,583 / 5,880 = 108; 0.56 * 5,880 * 230,000 = 757,344,000.
  const Defaults d = chosen({.samples = 1'281'167, .sample_bytes = 115'000, .batch = 256});
  EXPECT_EQ(d.block, 2u);
  EXPECT_EQ(d.lanes, 5880u);
  EXPECT_EQ(d.rows, 108u);
  EXPECT_EQ(d.block_bytes, 230'000u);
  EXPECT_NEAR(static_cast<double>(d.memory_bytes), 757'344'000, 1);
  EXPECT_EQ(d.memory_lanes_max, 805'306'368u);
  EXPECT_FALSE(d.keep_all);
  EXPECT_EQ(d.d1, 1.0);
  // x = 32 * 256 / 5,880 = 1.393: 1 + 2 (1 - 1/x)(1 - 1/2) = 2 - 1/x.
  EXPECT_NEAR(d.d32.value(), 2 - 5880.0 / 8192, 1e-12);
  EXPECT_TRUE(says(d, "assumed, as none was stated"));
}

TEST(Defaults, ForImagesOnEightRanks) {
  // Lane memory 6 GiB; B = 6,442,450,944 / (17.92 * 2,048) = 175,542 as before, c = 2.
  // L by memory 50,019, by rows 20,018: 23 * 840 = 19,320.
  const Defaults d =
      chosen({.samples = 1'281'167, .sample_bytes = 115'000, .batch = 2048, .world = 8});
  EXPECT_EQ(d.block, 2u);
  EXPECT_EQ(d.lanes, 19'320u);
  EXPECT_EQ(d.sharing, 1u);
  EXPECT_TRUE(says(d, "leaves 32 rows"));
}

TEST(Defaults, ForTextOnSixtyFourRanks) {
  // Lane memory 0.75 * 256 GiB = 206,158,430,208; B = that / 73,400.32 = 2,808,685; c = 685, as a
  // multiple of the stride 672. L by rows 10^9 / 21,504 = 46,502, step lcm(840, 64) = 6,720:
  // 40,320, x = 131,072 / 40,320 = 3.25 and D(32) <= 3.3: half a block, c = 336. L by rows 93,005: 87,360.
  const Defaults d = chosen({.samples = 1'000'000'000,
                             .sample_bytes = 4096,
                             .batch = 4096,
                             .world = 64,
                             .memory_bytes = 4 * kGiB,
                             .index_stride = 16});
  EXPECT_EQ(d.block, 336u);
  EXPECT_EQ(d.lanes, 87'360u);
  EXPECT_TRUE(says(d, "2.0 times the requests of 2.6 MiB blocks"));
  EXPECT_LT(d.memory_bytes, d.memory_lanes_max);
}

TEST(Defaults, TakeWholeLanesOfTheRanksThatThereAre) {
  // lcm(840, 11) = 9,240 exceeds the 6,252 that fit: the largest multiple of 11 below.
  const Defaults d = chosen({.samples = 1'281'167,
                             .sample_bytes = 115'000,
                             .batch = 22 * 11,
                             .world = 11,
                             .memory_bytes = kGiB / 11});
  EXPECT_EQ(d.lanes, 6248u);
  EXPECT_EQ(d.sharing, 1u);
}

TEST(Defaults, PreferABatchOfLanesToRows) {
  // B = 6 GiB / (17.92 * 1,024) = 351,085, c = 3; rows allow 50,000 / 96 = 520 lanes, b = 1,024
  // wins: 50,000 / 3,072 = 16.3 rows, 200 / 16.3 = 12 %.
  const Defaults d =
      chosen({.samples = 50'000, .sample_bytes = 100'000, .batch = 1024, .world = 8});
  EXPECT_EQ(d.block, 3u);
  EXPECT_EQ(d.lanes, 1024u);
  EXPECT_EQ(d.rows, 16u);
  EXPECT_TRUE(says(d, "only 16.3 rows"));
  EXPECT_TRUE(says(d, "about 12 % more requests"));
}

TEST(Defaults, TakeFinerBlocksWhereLittleDataWouldMixBadly) {
  // Text, 300,000 samples of 1,024 bytes, 64 MiB: 256 KiB are 256 samples, rows allow 300,000 / 8,192 = 36 lanes, so
  // b = 256 lanes, and D(32) is near 31. 307 MB in 100,000 requests are 3,072 bytes: c = 3, by rows 3,125 lanes:
  // 3 * 840; x = 8,192 / 2,520 = 3.25.
  const DefaultsSpec spec{
      .samples = 300'000, .sample_bytes = 1024, .batch = 256, .memory_bytes = 64 * kMiB};
  const Defaults d = chosen(spec);
  EXPECT_EQ(d.block, 3u);
  EXPECT_EQ(d.lanes, 2520u);
  EXPECT_LT(*d.d32, 2.2);
  EXPECT_TRUE(says(d, "85.3 times the requests of 256.0 KiB blocks"));
  // Of much data 64 KiB are the finest.
  const Defaults much = chosen(
      {.samples = 10'000'000, .sample_bytes = 20'000, .batch = 8192});
  EXPECT_EQ(much.block, 3u);
  EXPECT_TRUE(says(much, "for the sake of D(32)"));
  // What the user fixes stays.
  DefaultsSpec fixed = spec;
  fixed.block = 256;
  EXPECT_EQ(chosen(fixed).block, 256u);
  EXPECT_GT(*chosen(fixed).d32, 28);
  // A store's request rate goes before the mix.
  DefaultsSpec slow = spec;
  slow.bytes_per_second = 1e9;
  slow.requests_per_second = 5500;
  EXPECT_GE(chosen(slow).block_bytes, 262'144u);
}

TEST(Defaults, ShrinkBlocksBeforeLanes) {
  // c = 262,144 / 1,000 = 262; 100,000 lanes of 262 want 14.7 GB. 805,306,368 / (0.56 * 100,000 * 1,000) = 14.4, so
  // c = 14; 32 rows allow 22,321 lanes, so b of them.
  const Defaults d = chosen({.samples = 10'000'000, .sample_bytes = 1000, .batch = 100'000});
  EXPECT_EQ(d.block, 14u);
  EXPECT_EQ(d.lanes, 100'000u);
  EXPECT_TRUE(says(d, "14 samples instead of 262"));
  EXPECT_TRUE(says(d, "18.7 times the requests"));
}

TEST(Defaults, TakeFewerLanesThanABatchWhereOneSampleEachDoesNotFit) {
  // 384 MiB / (0.56 * 200,000) = 3,595 lanes of one sample: 4 * 840 = 3,360 < 4,096.
  const Defaults d = chosen({.samples = 1'000'000,
                             .sample_bytes = 200'000,
                             .batch = 4096,
                             .world = 8,
                             .memory_bytes = 64 * kMiB});
  EXPECT_EQ(d.block, 1u);
  EXPECT_EQ(d.lanes, 3360u);
  EXPECT_TRUE(says(d, "fewer than the 4096 samples of a batch"));
}

TEST(Defaults, TakeWholeLanesOfTheRanksWhereNot840Fit) {
  // 48 MiB / 112,000 = 449: 56 * 8.
  const Defaults d = chosen({.samples = 1'000'000,
                             .sample_bytes = 200'000,
                             .batch = 4096,
                             .world = 8,
                             .memory_bytes = 8 * kMiB});
  EXPECT_EQ(d.lanes, 448u);
}

TEST(Defaults, EstimateNoMoreMemoryThanTheDataSetHas) {
  const Defaults d = chosen(
      {.samples = 10, .sample_bytes = 100, .batch = 10, .resident_share = kResidentShareByBlock});
  EXPECT_EQ(d.lanes, 10u);
  EXPECT_EQ(d.memory_bytes, 1000u);
}

TEST(Defaults, TakeSingleSamplesWhereABlockBuysNothing) {
  const DefaultsSpec images{.samples = 1'000'000, .sample_bytes = 100'000, .batch = 64};
  DefaultsSpec spec = images;
  spec.sample_bytes = 256 << 10;
  EXPECT_EQ(chosen(spec).block, 1u);
  spec = images;
  spec.loose_objects = true;
  EXPECT_EQ(chosen(spec).block, 1u);
  spec = images;
  spec.shuffle = Shuffle::kGlobal;
  EXPECT_EQ(chosen(spec).block, 1u);
  EXPECT_TRUE(says(chosen(spec), "a true shuffle was asked for"));
  EXPECT_GT(chosen(images).block, 1u);
}

TEST(Defaults, KeepWhatFitsInHalfOfOneRank) {
  // 178,956 * 3,000 = 536,868,000 bytes, just below 512 MiB = 536,870,912.
  const DefaultsSpec spec{.samples = 178'956, .sample_bytes = 3000, .batch = 256};
  const Defaults d = chosen(spec);
  EXPECT_TRUE(d.keep_all);
  EXPECT_EQ(d.block, 1u);
  EXPECT_EQ(d.lanes, 5040u);  // 178,956 / 32 = 5,592: 6 * 840
  DefaultsSpec larger = spec;
  larger.samples = 178'957;
  EXPECT_FALSE(chosen(larger).keep_all);
}

TEST(Defaults, UseLargerBlocksForPreShuffledShardsAndSlowStores) {
  DefaultsSpec spec{.samples = 1'000'000'000, .sample_bytes = 1024, .batch = 256};
  EXPECT_EQ(chosen(spec).block, 256u);  // 256 KiB
  spec.pre_shuffled = true;
  EXPECT_EQ(chosen(spec).block, 2048u);  // 2 MiB
  EXPECT_EQ(chosen(spec).d32, 1.0);
  spec.pre_shuffled = false;
  spec.bytes_per_second = 1.1e9;
  spec.requests_per_second = 5500;
  EXPECT_EQ(chosen(spec).block, 390u);  // 1.1e9 / 2,750 = 400,000 bytes
  EXPECT_TRUE(says(chosen(spec), "half of the store's request rate"));
}

TEST(Defaults, LetTheUserFixBlockAndLanes) {
  const Defaults d = chosen({.samples = 1'000'000,
                             .sample_bytes = 100'000,
                             .batch = 64,
                             .world = 8,
                             .block = 20,
                             .lanes = 100});
  EXPECT_EQ(d.block, 20u);
  EXPECT_EQ(d.lanes, 100u);
  EXPECT_EQ(d.sharing, 2u);  // 8 / gcd(100, 8)
  EXPECT_TRUE(says(d, "read by 2 ranks"));
  const Defaults much = chosen(
      {.samples = 1'000'000, .sample_bytes = 100'000, .batch = 64, .block = 20, .lanes = 5000});
  EXPECT_TRUE(says(much, "what does not fit is read again"));
}

TEST(Defaults, FitDataSetsSmallerThanABatch) {
  const Defaults d = chosen({.samples = 5, .sample_bytes = 100, .batch = 64, .world = 8});
  EXPECT_EQ(d.lanes, 5u);
  EXPECT_EQ(d.block, 1u);
  EXPECT_EQ(d.rows, 1u);
  EXPECT_FALSE(d.d1.has_value());
}

TEST(Defaults, WithoutShuffleUseOneLane) {
  const Defaults d =
      chosen({.samples = 100'000, .sample_bytes = 10'000, .batch = 64, .shuffle = Shuffle::kNone});
  EXPECT_EQ(d.lanes, 1u);
  EXPECT_FALSE(d.d1.has_value());
}

// 3/4 of a rank's memory in 32 blocks of which 0.56 is held: 64 MiB give 48 / 17.92 = 2.678 MiB, 2,808,686 bytes.
TEST(Defaults, WithoutShuffleReadLongRangesWhateverTheBatchAndHoweverSmallTheDataSet) {
  DefaultsSpec spec{.samples = 20'000, .sample_bytes = 1024, .batch = 256, .shuffle = Shuffle::kNone};
  EXPECT_TRUE(chosen(spec).keep_all);
  EXPECT_EQ(chosen(spec).block, 4096u);  // 4 MiB
  spec.memory_bytes = 64 << 20;
  EXPECT_EQ(chosen(spec).block, 2808686u / 1024);
  spec.batch = 8 * 256;
  spec.world = 8;
  EXPECT_EQ(chosen(spec).block, 2808686u / 1024);
  spec.sample_bytes = 300'000;  // worth a request each
  EXPECT_EQ(chosen(spec).block, 1u);
}

TEST(Defaults, StayWithinTheirPromisesInManyWorlds) {
  for (uint64_t samples : {1, 40, 999, 50'000, 3'000'000}) {
    for (double bytes : {1.0, 900.0, 30'000.0, 5e6}) {
      for (uint32_t world : {1, 3, 8, 13, 64}) {
        for (uint64_t rows : {1, 32, 500}) {
          const DefaultsSpec spec{
              .samples = samples, .sample_bytes = bytes, .batch = rows * world, .world = world};
          const Defaults d = chosen(spec);
          ASSERT_GE(d.block, 1u);
          ASSERT_LE(d.block, kBlockSamplesMax);
          ASSERT_GE(d.rows, 1u);
          const auto counts = std::make_shared<const ShardCounts>(std::vector<uint64_t>{samples});
          const Order order = *Order::make(counts, {.block = d.block, .lanes = d.lanes});
          ASSERT_EQ(order.block(), d.block);  // what was chosen is what is in use
          ASSERT_EQ(order.lanes(), d.lanes);
          if (!d.keep_all) {
            ASSERT_LE(d.memory_bytes, d.memory_lanes_max);
          }
          if (samples >= spec.batch && d.memory_lanes_max > spec.batch * bytes) {
            ASSERT_GE(d.lanes, spec.batch);
            ASSERT_EQ(d.sharing, 1u);
          }
        }
      }
    }
  }
}

TEST(Defaults, SayWhatMoreMemoryBuys) {
  const auto text =
      what_more_memory_buys({.samples = 1'281'167, .sample_bytes = 115'000, .batch = 256});
  // 2 GiB: B = 351,085, c = 3; memory 1,610,612,736 / 193,200 = 8,336, 9 * 840 = 7,560 lanes;
  // x = 8,192 / 7,560: 1 + 2 (1 - 7,560/8,192)(2/3) = 1.10.
  EXPECT_NE(text->find("2.0 GiB a rank: 7560 lanes of 3 samples, D(32) at most 1.10"),
            std::string::npos)
      << *text;
  const auto tiny = what_more_memory_buys({.samples = 100, .sample_bytes = 10, .batch = 10});
  EXPECT_EQ(*tiny, "more memory would change nothing");
}

TEST(Defaults, RefuseWhatMakesNoSense) {
  const auto refused = [](DefaultsSpec spec) {
    return choose_defaults(spec).status().code() == Code::kInvalidArgument &&
           what_more_memory_buys(spec).status().code() == Code::kInvalidArgument;
  };
  const DefaultsSpec good{.samples = 10, .sample_bytes = 10, .batch = 2, .world = 2};
  EXPECT_FALSE(refused(good));
  DefaultsSpec bad = good;
  bad.samples = 0;
  EXPECT_TRUE(refused(bad));
  for (double bytes : {0.0, -1.0, 1.0 / 0.0, 0.0 / 0.0, 1e300}) {
    bad = good;
    bad.sample_bytes = bytes;
    EXPECT_TRUE(refused(bad)) << bytes;
  }
  bad = good;
  bad.batch = 3;
  EXPECT_TRUE(refused(bad));
  bad = good;
  bad.world = 0;
  EXPECT_TRUE(refused(bad));
  bad = good;
  bad.resident_share = 0;
  EXPECT_TRUE(refused(bad));
  bad = good;
  bad.block = 70'000;
  EXPECT_TRUE(refused(bad));
  bad = good;
  bad.memory_bytes = ~uint64_t{0};
  EXPECT_TRUE(refused(bad));
}

TEST(SharingFactor, CountsTheRanksThatABlockMeets) {
  EXPECT_EQ(sharing_factor(9, 840, 8), 1u);
  EXPECT_EQ(sharing_factor(9, 100, 8), 2u);
  EXPECT_EQ(sharing_factor(9, 841, 8), 8u);
  EXPECT_EQ(sharing_factor(3, 841, 8), 3u);
}

// Ranges of consecutive samples of one shard that the segments of an order ask for.
uint64_t ranges_of(const Order& order) {
  uint64_t ranges = 0;
  std::vector<uint64_t> samples;
  for (uint64_t id = 0; id < order.segments(); ++id) {
    order.samples(id, samples);
    std::sort(samples.begin(), samples.end());
    for (size_t i = 0; i < samples.size(); ++i) {
      const bool joined =
          i > 0 && samples[i] == samples[i - 1] + 1 && order.counts().locate(samples[i]).row > 0;
      ranges += joined ? 0 : 1;
    }
  }
  return ranges;
}

TEST(GetsPerEpoch, BoundsTheRangesOfTheOrderClosely) {
  const std::vector<std::vector<uint64_t>> worlds = {
      {5000}, {1251, 1250, 0, 999, 2000}, std::vector<uint64_t>(300, 17)};
  for (const auto& shards : worlds) {
    const auto counts = std::make_shared<const ShardCounts>(shards);
    for (uint64_t block : {1, 3, 8, 40}) {
      for (uint64_t lanes : {1, 10, 64}) {
        for (Shuffle shuffle : {Shuffle::kNone, Shuffle::kStratified, Shuffle::kGlobal}) {
          const OrderSpec spec{.seed = 1, .block = block, .lanes = lanes, .shuffle = shuffle};
          const uint64_t ranges = ranges_of(*Order::make(counts, spec));
          const uint64_t bound = gets_per_epoch(*counts, block, lanes, shuffle);
          const bool single = block == 1 || shuffle == Shuffle::kGlobal;
          if (single && shuffle != Shuffle::kNone) {
            EXPECT_EQ(bound, counts->total());
          }
          EXPECT_LE(ranges, bound) << block << " " << lanes << " " << shuffle_name(shuffle);
          // Slack: shards that begin where a block does, and arcs that do not go round.
          EXPECT_GE(ranges + 2 * lanes + 2 * shards.size(), bound) << block << " " << lanes;
        }
      }
    }
  }
  EXPECT_EQ(gets_per_epoch(ShardCounts({}), 1, 1, Shuffle::kStratified), 0u);
}

}  // namespace
}  // namespace headrace
