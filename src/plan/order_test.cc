// SPDX-License-Identifier: Apache-2.0
//
// Expected orders: docs/ordering.md, golden values. Properties: exactly once, and at / place /
// samples / walker agree.
#include "plan/order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

namespace headrace {
namespace {

using Numbers = std::vector<uint64_t>;

std::shared_ptr<const ShardCounts> shards(Numbers counts) {
  return std::make_shared<const ShardCounts>(std::move(counts));
}

Numbers all_of(const Order& order) {
  Numbers samples(order.size());
  for (uint64_t p = 0; p < order.size(); ++p) samples[p] = order.at(p);
  return samples;
}

Numbers some_of(const Order& order, uint64_t begin, uint64_t end) {
  Numbers samples;
  for (uint64_t p = begin; p < end; ++p) samples.push_back(order.at(p));
  return samples;
}

// Everything an order promises of itself, in one pass; "" when it holds.
std::string broken_promise(const Order& order) {
  std::vector<uint8_t> seen(order.size(), 0);
  std::map<uint64_t, std::vector<uint8_t>> segments;
  std::map<uint64_t, uint32_t> lane_of;
  OrderWalker walker(order);
  Numbers segment;
  for (uint64_t p = 0; p < order.size(); ++p) {
    const uint64_t sample = order.at(p);
    if (sample >= order.size() || seen[sample]++ != 0)
      return "not exactly once at " + std::to_string(p);
    const Order::Place place = order.place(p);
    order.samples(place.segment, segment);
    if (place.segment >= order.segments() || place.lane >= order.lanes())
      return "place out of range";
    if (segment.size() != order.segment_size(place.segment)) return "segment size";
    if (place.index >= segment.size() || segment[place.index] != sample)
      return "samples at " + std::to_string(p);
    if (walker.at(p) != sample) return "walker at " + std::to_string(p);
    auto& delivered = segments[place.segment];
    if (place.index != delivered.size()) return "delivery order at " + std::to_string(p);
    delivered.push_back(1);
    if (lane_of.try_emplace(place.segment, place.lane).first->second != place.lane)
      return "two lanes";
  }
  uint64_t total = 0;
  for (uint64_t id = 0; id < order.segments() + 3; ++id) {
    const uint64_t size = order.segment_size(id);
    if (size != (segments.count(id) ? segments[id].size() : 0))
      return "segment " + std::to_string(id);
    if (size > 0 && order.segment_block(id) >= order.blocks()) return "block of segment";
    total += size;
  }
  return total == order.size() ? "" : "segments do not cover the epoch";
}

TEST(Order, HasThePublishedValues) {
  const auto counts = shards({10, 7, 0, 12, 3});
  EXPECT_EQ(all_of(*Order::make(counts, {.seed = 5, .epoch = 1, .block = 4, .lanes = 6})),
            (Numbers{19, 14, 2,  22, 10, 27, 18, 8,  3, 21, 11, 26, 17, 15, 0,  24,
                     12, 25, 20, 9,  1,  23, 13, 28, 6, 4,  16, 30, 7,  5,  29, 31}));
  EXPECT_EQ(
      all_of(*Order::make(
          counts, {.seed = 5, .epoch = 1, .block = 4, .lanes = 6, .shuffle = Shuffle::kBlock})),
      (Numbers{31, 12, 22, 1,  27, 5, 30, 13, 24, 2,  26, 7,  16, 11, 21, 3,
               25, 6,  29, 10, 23, 0, 28, 4,  8,  14, 20, 18, 9,  15, 19, 17}));
  EXPECT_EQ(
      all_of(*Order::make(shards({5, 9, 14, 3, 20, 11}),
                          {.seed = 11, .epoch = 2, .block = 3, .lanes = 5})),
      (Numbers{13, 58, 56, 44, 21, 11, 59, 34, 33, 20, 12, 57, 36, 32, 19, 3,  47, 35, 31, 18, 4,
               48, 6,  1,  17, 26, 46, 5,  0,  42, 53, 23, 7,  2,  41, 52, 25, 16, 27, 40, 51, 24,
               14, 50, 28, 37, 9,  15, 49, 29, 38, 10, 54, 45, 30, 39, 8,  55, 43, 22, 61, 60}));
}

TEST(Order, HasThePublishedValuesForALargeDataSet) {
  const Order order = *Order::make(shards(Numbers(1024, 1251)), {.block = 9, .lanes = 1536});
  EXPECT_EQ(some_of(order, 0, 8),
            (Numbers{544216, 840652, 213059, 1150072, 100823, 674654, 970301, 340653}));
  EXPECT_EQ(some_of(order, 1'000'000, 1'000'004), (Numbers{446165, 838719, 154999, 1067770}));
}

TEST(Order, OfUnitsHasThePublishedValues) {
  const Order order =
      *Order::make_units({4, 9, 1, 6, 12, 3, 7}, {.seed = 5, .epoch = 1, .lanes = 3});
  EXPECT_EQ(all_of(order), (Numbers{6,  14, 33, 9,  38, 32, 11, 39, 21, 7,  36, 31, 4,  41,
                                    25, 8,  35, 30, 12, 40, 26, 5,  37, 29, 10, 13, 24, 16,
                                    0,  27, 17, 3,  22, 15, 1,  23, 19, 2,  20, 18, 34, 28}));
}

TEST(Order, WithoutShuffleIsTheStoredOrder) {
  const Order order =
      *Order::make(shards({3, 4}), {.block = 3, .lanes = 2, .shuffle = Shuffle::kNone});
  EXPECT_EQ(all_of(order), (Numbers{0, 1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(order.place(5), (Order::Place{.segment = 1, .index = 2, .lane = 0}));
  EXPECT_EQ(order.segment_size(2), 1u);
  const Order units = *Order::make_units({3, 0, 4}, {.lanes = 2, .shuffle = Shuffle::kNone});
  EXPECT_EQ(units.place(3), (Order::Place{.segment = 2, .index = 0, .lane = 0}));
}

TEST(Order, KeepsItsPromisesInEverySmallWorld) {
  for (uint64_t n = 1; n <= 40; ++n) {
    const std::vector<Numbers> worlds = {{n}, {n / 3, 0, n - n / 3}, Numbers(n, 1)};
    for (const Numbers& counts : worlds) {
      for (uint64_t block : {1, 2, 3, 5, 8, 41}) {
        for (uint64_t lanes : {1, 2, 3, 7, 16, 50}) {
          for (Shuffle shuffle :
               {Shuffle::kNone, Shuffle::kStratified, Shuffle::kBlock, Shuffle::kGlobal}) {
            const OrderSpec spec{.seed = n * block,
                                 .epoch = lanes,
                                 .block = block,
                                 .lanes = lanes,
                                 .shuffle = shuffle};
            ASSERT_EQ(broken_promise(*Order::make(shards(counts), spec)), "")
                << "n=" << n << " block=" << block << " lanes=" << lanes << " "
                << shuffle_name(shuffle);
          }
        }
      }
    }
  }
}

TEST(Order, OfUnitsKeepsItsPromisesInSmallWorlds) {
  const std::vector<Numbers> worlds = {
      {1},       {5},           {1, 1, 1},      {0, 3, 0}, {7, 1, 20, 2, 0, 9},
      {0, 0, 1}, {30, 1, 1, 1}, {2, 0, 0, 0, 0}};
  for (const Numbers& counts : worlds) {
    for (uint64_t lanes : {1, 2, 3, 4, 6, 9}) {
      for (uint64_t seed : {0, 1, 2, 3, 4}) {
        for (Shuffle shuffle : {Shuffle::kNone, Shuffle::kStratified, Shuffle::kBlock}) {
          ASSERT_EQ(broken_promise(*Order::make_units(
                        counts, {.seed = seed, .lanes = lanes, .shuffle = shuffle})),
                    "")
              << "units=" << counts.size() << " lanes=" << lanes << " " << shuffle_name(shuffle);
        }
      }
    }
  }
}

TEST(Order, GoesToAnotherEpochAsIfMadeForIt) {
  const auto counts = shards({10, 7, 0, 12, 3});
  for (Shuffle shuffle : {Shuffle::kNone, Shuffle::kStratified, Shuffle::kBlock}) {
    OrderSpec spec{.seed = 5, .epoch = 9, .block = 4, .lanes = 5, .shuffle = shuffle};
    const Order blocks = *Order::make(counts, spec), units = *Order::make_units(counts, spec);
    spec.epoch = 1;
    EXPECT_EQ(all_of(blocks.for_epoch(1)), all_of(*Order::make(counts, spec)));
    EXPECT_EQ(all_of(units.for_epoch(1)), all_of(*Order::make_units(counts, spec)));
    EXPECT_EQ(blocks.for_epoch(1).spec().epoch, 1u);
    EXPECT_EQ(all_of(blocks) == all_of(blocks.for_epoch(1)), shuffle == Shuffle::kNone);
  }
}

TEST(Order, GivesLanesBlocksOfTheirOwnInTheMainPart) {
  const Order order = *Order::make(shards(Numbers(50, 37)), {.seed = 3, .block = 5, .lanes = 24});
  for (uint64_t p = 0; p + 24 <= order.main_size(); p += 24) {
    std::vector<uint64_t> blocks;
    for (uint64_t q = p; q < p + 24; ++q) {
      EXPECT_EQ(order.place(q).lane, q % 24);
      blocks.push_back(order.segment_block(order.place(q).segment));
    }
    std::sort(blocks.begin(), blocks.end());
    EXPECT_EQ(std::unique(blocks.begin(), blocks.end()), blocks.end());
  }
}

TEST(Order, ClampsLanesAndBlockToTheDataSet) {
  const Order order = *Order::make(shards({10}), {.block = 8, .lanes = 3});
  EXPECT_EQ(order.block(), 3u);  // 10 / 3
  EXPECT_EQ(order.lanes(), 3u);
  EXPECT_EQ(Order::make(shards({10}), {.block = 8, .lanes = 99})->lanes(), 10u);
  EXPECT_EQ(
      Order::make(shards({10}), {.block = 8, .lanes = 3, .shuffle = Shuffle::kGlobal})->block(),
      1u);
}

TEST(Order, RefusesWhatItCannotOrder) {
  const auto code = [](const Result<Order>& order) { return order.status().code(); };
  EXPECT_EQ(code(Order::make(shards({}), {})), Code::kInvalidArgument);
  EXPECT_EQ(code(Order::make(shards({0, 0}), {})), Code::kInvalidArgument);
  EXPECT_EQ(code(Order::make(shards({5}), {.block = 0})), Code::kInvalidArgument);
  EXPECT_EQ(code(Order::make(shards({5}), {.block = 65'537})), Code::kInvalidArgument);
  EXPECT_EQ(code(Order::make(shards({5}), {.lanes = 0})), Code::kInvalidArgument);
  EXPECT_EQ(code(Order::make(shards({5}), {.lanes = uint64_t{1} << 40})), Code::kInvalidArgument);
  EXPECT_EQ(code(Order::make_units(Numbers{5}, {.shuffle = Shuffle::kGlobal})),
            Code::kInvalidArgument);
  EXPECT_EQ(code(Order::make_units({uint64_t{1} << 32}, {})), Code::kInvalidArgument);
  EXPECT_EQ(code(Order::make_units({~uint64_t{0}, 2}, {})), Code::kInvalidArgument);
}

TEST(Shuffle, NamesReadBack) {
  for (Shuffle s : {Shuffle::kNone, Shuffle::kStratified, Shuffle::kBlock, Shuffle::kGlobal}) {
    EXPECT_EQ(*parse_shuffle(shuffle_name(s)), s);
  }
  EXPECT_EQ(parse_shuffle("Stratified").status().code(), Code::kInvalidArgument);
}

TEST(ShardCounts, LocatesSamplesAcrossEmptyShards) {
  const ShardCounts counts({0, 3, 0, 0, 2, 0});
  EXPECT_EQ(counts.total(), 5u);
  EXPECT_EQ(counts.locate(0), (ShardCounts::At{1, 0}));
  EXPECT_EQ(counts.locate(2), (ShardCounts::At{1, 2}));
  EXPECT_EQ(counts.locate(3), (ShardCounts::At{4, 0}));
  EXPECT_EQ(counts.first(5), 5u);
  EXPECT_EQ(counts.count(5), 0u);
}

TEST(ShardCounts, OfEqualShardsNeedsNoTable) {
  const ShardCounts counts({4, 4, 4});
  EXPECT_TRUE(counts.uniform());
  EXPECT_EQ(counts.locate(9), (ShardCounts::At{2, 1}));
  EXPECT_EQ(counts.first(3), 12u);
  EXPECT_FALSE(ShardCounts::make({kSamplesMax, 1}).ok());
  EXPECT_FALSE(ShardCounts::make({~uint64_t{0}, 1}).ok());
}

}  // namespace
}  // namespace headrace
