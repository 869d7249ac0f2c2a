// SPDX-License-Identifier: Apache-2.0
//
// Every order of every small data set delivers each sample exactly once, segment by segment: all
// data sets of up to 4 (full: 5) shards of 0..9 samples with all blocks, lanes and shuffles, larger
// ones of up to 12 shards by lot; the same for units.
#include <gtest/gtest.h>

#include <algorithm>

#include "plan/order.h"
#include "worlds.h"

namespace headrace::exhaustive {
namespace {

using Numbers = std::vector<uint64_t>;
constexpr uint64_t kSamples = kShardsMax * kSamplesOfShardMax;

// "" when every sample comes once, and each lane delivers its segments whole, in their order.
std::string broken_promise(const Order& order) {
  struct Lane {
    uint64_t segment = ~uint64_t{0};
    Numbers samples;
    size_t next = 0;
  };
  uint8_t seen[kSamples] = {};
  std::vector<Lane> lanes(order.lanes());
  for (uint64_t p = 0; p < order.size(); ++p) {
    const uint64_t sample = order.at(p);
    if (sample >= order.size() || seen[sample]++ != 0) return "not once: " + std::to_string(p);
    const Order::Place place = order.place(p);
    if (place.lane >= lanes.size()) return "lane at " + std::to_string(p);
    if (p < order.main_size() && place.lane != p % lanes.size()) return "lane of the main part";
    Lane& lane = lanes[place.lane];
    if (place.segment != lane.segment) {
      if (lane.next != lane.samples.size()) return "segment left at " + std::to_string(p);
      lane.segment = place.segment;
      lane.next = 0;
      order.samples(place.segment, lane.samples);
      if (lane.samples.size() != order.segment_size(place.segment)) return "segment size";
      if (order.segment_block(place.segment) >= order.blocks()) return "segment block";
    }
    if (place.index != lane.next || lane.next >= lane.samples.size()) return "index";
    if (lane.samples[lane.next++] != sample) return "segment at " + std::to_string(p);
  }
  for (const Lane& lane : lanes) {
    if (lane.next != lane.samples.size()) return "a segment is not delivered whole";
  }
  return "";
}

std::string described(const Order& order, const Numbers& counts) {
  std::string text = "counts";
  for (const uint64_t count : counts) text += " " + std::to_string(count);
  const OrderSpec& spec = order.spec();
  return text + " block " + std::to_string(spec.block) + " lanes " + std::to_string(spec.lanes) +
         " " + std::string(shuffle_name(spec.shuffle)) + " seed " + std::to_string(spec.seed) +
         (order.units() ? " units" : "");
}

void check(const Result<Order>& order, const Numbers& counts, Tally& tally) {
  ASSERT_TRUE(order.ok()) << order.status().message();
  const std::string fault = broken_promise(*order);
  ASSERT_EQ(fault, "") << described(*order, counts);
  tally.add(order->size());
}

// All blocks, lanes and shuffles of one data set.
void check_all_of(const Numbers& counts, OrderStream& random, Tally& tally) {
  const auto shards = std::make_shared<const ShardCounts>(counts);
  for (uint64_t lanes = 1; lanes <= shards->total(); ++lanes) {
    for (uint64_t block = 1; block <= shards->total() / lanes; ++block) {
      for (const Shuffle shuffle : {Shuffle::kStratified, Shuffle::kBlock, Shuffle::kNone}) {
        const OrderSpec spec{random.draw(), random.bounded(100), block, lanes, shuffle};
        check(Order::make(shards, spec), counts, tally);
        if (testing::Test::HasFailure()) return;
      }
    }
    check(Order::make(shards, {random.draw(), 0, 1, lanes, Shuffle::kGlobal}), counts, tally);
  }
}

void check_all_units_of(const Numbers& counts, OrderStream& random, Tally& tally) {
  const auto units = std::make_shared<const ShardCounts>(counts);
  for (uint64_t lanes = 1; lanes <= counts.size(); ++lanes) {
    for (const Shuffle shuffle : {Shuffle::kStratified, Shuffle::kBlock, Shuffle::kNone}) {
      const OrderSpec spec{random.draw(), random.bounded(100), 1, lanes, shuffle};
      check(Order::make_units(units, spec), counts, tally);
      if (testing::Test::HasFailure()) return;
    }
  }
}

TEST(ExhaustiveOrder, EverySmallDataSetUnderEveryBlockLaneAndShuffle) {
  Tally tally("orders of all data sets of up to " + std::to_string(full() ? 5 : 4) +
              " shards, all blocks, lanes, shuffles");
  OrderStream random(1);
  for (uint64_t shards = 1; shards <= (full() ? 5u : 4u); ++shards) {
    Numbers counts(shards);
    while (next_counts(counts) && !HasFailure()) check_all_of(counts, random, tally);
  }
}

// All data sets of 6 shards, each under 40 blocks, lanes and shuffles by lot.
TEST(ExhaustiveOrder, EveryDataSetOfSixShardsUnderSomeBlocksLanesAndShuffles) {
  if (!full()) GTEST_SKIP() << "HR_EXHAUSTIVE=full";
  Tally tally("orders of all data sets of 6 shards, 40 blocks, lanes, shuffles each by lot");
  OrderStream random(7);
  Numbers counts(6);
  while (next_counts(counts) && !HasFailure()) {
    const auto shards = std::make_shared<const ShardCounts>(counts);
    for (int i = 0; i < 40; ++i) {
      const OrderSpec spec{random.draw(), random.bounded(100), 1 + random.bounded(20),
                           1 + random.bounded(shards->total()),
                           static_cast<Shuffle>(random.bounded(4))};
      check(Order::make(shards, spec), counts, tally);
    }
  }
}

TEST(ExhaustiveOrder, LargerDataSetsByLot) {
  Tally tally(
      "orders of data sets of up to 12 shards, all blocks, lanes, shuffles, data sets by lot");
  OrderStream random(2);
  const uint64_t data_sets = full() ? 40'000 : 800;
  for (uint64_t i = 0; i < data_sets && !HasFailure(); ++i) {
    check_all_of(random_counts(random, 4 + random.bounded(kShardsMax - 3)), random, tally);
  }
}

TEST(ExhaustiveOrder, EverySmallSetOfUnits) {
  Tally tally("orders of all sets of up to " + std::to_string(full() ? 6 : 5) +
              " units, all lanes");
  OrderStream random(3);
  for (uint64_t units = 1; units <= (full() ? 6u : 5u); ++units) {
    Numbers counts(units);
    while (next_counts(counts) && !HasFailure()) check_all_units_of(counts, random, tally);
  }
}

TEST(ExhaustiveOrder, LargerSetsOfUnitsByLot) {
  Tally tally("orders of sets of up to 12 units, all lanes, sets by lot");
  OrderStream random(4);
  const uint64_t sets = full() ? 600'000 : 20'000;
  for (uint64_t i = 0; i < sets && !HasFailure(); ++i) {
    check_all_units_of(random_counts(random, 5 + random.bounded(kShardsMax - 4)), random, tally);
  }
}

}  // namespace
}  // namespace headrace::exhaustive
