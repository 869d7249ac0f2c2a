// SPDX-License-Identifier: Apache-2.0
//
// The stream order against tests/golden/streams.json (from tests/model/stream_model.py, written
// from the specification), and what must hold in every world.
#include "plan/stream_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

namespace headrace {
namespace {

using Json = nlohmann::json;
using Numbers = std::vector<uint64_t>;
using Sample = std::vector<uint64_t>;  // epoch, shard, row

// One stream driven as the engine drives it, over counts instead of bytes.
struct Driven {
  Driven(const StreamSpec& s, const Numbers& c, uint64_t n, uint64_t e)
      : spec(s), counts(c), number(n) {
    begin(e);
  }

  void begin(uint64_t e) {
    epoch = e;
    slots = StreamSlots(spec, e, number);
    stored.clear();
    const StreamDeal deal(spec, e);
    for (uint64_t i = 0; i < deal.shards(number); ++i) {
      for (uint64_t row = 0; row < counts[deal.shard(number, i)]; ++row)
        stored.push_back({i, deal.shard(number, i), row});
    }
    fill();
  }
  void fill() {
    while (slots.filling() && slots.head() < stored.size()) slots.fill();
  }
  bool ended() const { return slots.filled() == 0; }
  Sample take() {
    const auto taken = slots.take(slots.head() < stored.size());
    return {epoch, stored[taken.ordinal][1], stored[taken.ordinal][2]};
  }
  Numbers state() const {
    if (ended() && !stored.empty()) return {epoch + 1, 0, 0, 0, 0, 0};
    if (slots.draws() == 0) return {epoch, 0, 0, 0, 0, 0};
    uint64_t oldest = slots.head();
    for (uint64_t k = 0; k < slots.filled(); ++k) oldest = std::min(oldest, slots.at(k));
    return {epoch,        stored[oldest][0], oldest, stored[slots.head() - 1][0],
            slots.head(), slots.draws()};
  }

  StreamSpec spec;
  const Numbers& counts;
  uint64_t number, epoch;
  StreamSlots slots;
  std::vector<Numbers> stored;
};

std::vector<Sample> drain(const StreamSpec& spec, const Numbers& counts, uint64_t epoch) {
  std::vector<Driven> streams;
  for (uint64_t s = 0; s < spec.streams; ++s) streams.emplace_back(spec, counts, s, epoch);
  StreamTurns turns(spec.streams);
  for (const Driven& d : streams) {
    if (d.ended()) turns.end(d.number);
  }
  std::vector<Sample> out;
  while (!turns.over()) {
    Driven& d = streams[turns.turn()];
    out.push_back(d.take());
    turns.advance();
    if (d.ended()) turns.end(d.number);
  }
  return out;
}

TEST(GoldenStreams, EveryWorld) {
  std::ifstream file(std::string(HR_SOURCE_DIR) + "/tests/golden/streams.json");
  const Json worlds = Json::parse(file);
  ASSERT_EQ(worlds.size(), 41u);
  size_t samples = 0;
  for (const Json& w : worlds) {
    const Numbers counts = w["counts"];
    const StreamSpec spec{counts.size(), w["streams"], w["slots"], w["seed"]};
    if (w.contains("drain")) {
      const auto expected = w["drain"].get<std::vector<Sample>>();
      EXPECT_EQ(drain(spec, counts, w["epoch"]), expected);
      samples += expected.size();
      continue;
    }
    std::vector<Driven> streams;
    for (uint64_t s = 0; s < spec.streams; ++s) streams.emplace_back(spec, counts, s, 0);
    std::vector<Sample> got;
    for (uint64_t p = 0; p < w["wrap"].size(); ++p) {
      Driven& d = streams[p % spec.streams];
      while (d.ended()) d.begin(d.epoch + 1);
      got.push_back(d.take());
    }
    EXPECT_EQ(got, w["wrap"].get<std::vector<Sample>>());
    for (uint64_t s = 0; s < spec.streams; ++s)
      EXPECT_EQ(streams[s].state(), w["states"][s].get<Numbers>());
    samples += got.size();
  }
  EXPECT_GT(samples, 6000u);
}

TEST(StreamOrder, EverySampleExactlyOnceInAnyWorld) {
  std::mt19937_64 rng(3);
  for (int round = 0; round < 300; ++round) {
    Numbers counts(1 + rng() % 9);
    for (uint64_t& c : counts) c = rng() % 4 == 0 ? 0 : rng() % 20;
    const StreamSpec spec{counts.size(), 1 + rng() % counts.size(), 1 + rng() % 12, rng()};
    const auto order = drain(spec, counts, round);
    const std::set<Sample> seen(order.begin(), order.end());
    uint64_t total = 0;
    for (uint64_t s = 0; s < counts.size(); ++s) {
      total += counts[s];
      for (uint64_t row = 0; row < counts[s]; ++row)
        EXPECT_TRUE(seen.contains({uint64_t(round), s, row}));
    }
    EXPECT_EQ(order.size(), total);
    EXPECT_EQ(seen.size(), total);
  }
}

TEST(StreamOrder, ReplayAtEveryCutIsTheSameAsNeverStopped) {
  std::mt19937_64 rng(4);
  uint64_t cuts = 0;
  for (int round = 0; round < 60; ++round) {
    const Numbers counts(1 + rng() % 5, rng() % 30);
    const StreamSpec spec{counts.size(), 1, 1 + rng() % 40, rng()};
    Driven whole(spec, counts, 0, 7);
    for (;;) {
      const auto again = StreamSlots::replay(spec, 7, 0, whole.slots.head(), whole.slots.draws());
      ASSERT_TRUE(again.ok()) << again.status().message();
      ASSERT_EQ(again->filled(), whole.slots.filled());
      for (uint64_t k = 0; k < again->filled(); ++k) EXPECT_EQ(again->at(k), whole.slots.at(k));
      EXPECT_EQ(again->draws(), whole.slots.draws());
      ++cuts;
      if (whole.ended()) break;
      whole.take();
    }
  }
  EXPECT_GT(cuts, 1000u);
}

TEST(StreamOrder, AStateThatNoDrawsLeadToIsRefused) {
  const StreamSpec spec{1, 1, 4, 9};
  EXPECT_TRUE(StreamSlots::replay(spec, 0, 0, 10, 6).ok());    // 4 filled, 6 taken and replaced
  EXPECT_FALSE(StreamSlots::replay(spec, 0, 0, 10, 5).ok());   // one sample too many has come
  EXPECT_FALSE(StreamSlots::replay(spec, 0, 0, 10, 11).ok());  // more deliveries than samples
  const Status huge = StreamSlots::replay(spec, 0, 0, 10, ~uint64_t{0}).status();  // and in no time
  EXPECT_EQ(huge.code(), Code::kPrecondition);
  EXPECT_NE(huge.message().find("resume stream 0"), std::string::npos);
}

TEST(StreamOrder, ShardsAreDealtInRoundsOfThePermutation) {
  const StreamSpec spec{10, 4, 1, 77};
  const StreamDeal deal(spec, 3);
  const Permutation permutation(10, order_key(77, 3, OrderTag::kStream, 0));
  EXPECT_EQ(deal.shards(0), 3u);
  EXPECT_EQ(deal.shards(1), 3u);
  EXPECT_EQ(deal.shards(2), 2u);
  EXPECT_EQ(deal.shards(3), 2u);
  EXPECT_EQ(deal.shard(1, 2), permutation(9));
}

TEST(StreamOrder, TurnsLeaveOutWhatHasEnded) {
  StreamTurns turns(3, 1);
  EXPECT_EQ(turns.turn(), 1u);
  turns.end(2);
  turns.advance();
  EXPECT_EQ(turns.turn(), 0u);
  turns.end(0);
  turns.end(0);  // twice is once
  EXPECT_EQ(turns.turn(), 1u);
  turns.end(1);
  EXPECT_TRUE(turns.over());
}

TEST(StreamOrder, SpecsAreChecked) {
  EXPECT_TRUE(check_stream_spec({8, 4, 10, 0}, 2).ok());
  EXPECT_FALSE(check_stream_spec({0, 1, 1, 0}, 1).ok());
  EXPECT_FALSE(check_stream_spec({8, 9, 1, 0}, 1).ok());
  EXPECT_FALSE(check_stream_spec({8, 0, 1, 0}, 1).ok());
  EXPECT_FALSE(check_stream_spec({1000, 513, 1, 0}, 1).ok());
  EXPECT_FALSE(check_stream_spec({8, 4, 0, 0}, 1).ok());
  EXPECT_FALSE(check_stream_spec({8, 4, kSlotsMax + 1, 0}, 1).ok());
  const Status status = check_stream_spec({8, 4, 1, 0}, 3);
  EXPECT_NE(status.message().find("4 streams cannot be dealt to 3 ranks"), std::string::npos);
}

// order.md: 100 equal shards on 64 streams deliver 64 %.
TEST(StreamOrder, DropLosesWhatTheShortestStreamDoesNotHave) {
  const ShardCounts counts(Numbers(100, 50));
  EXPECT_DOUBLE_EQ(stream_drop_loss(counts, {100, 64, 8, 1}, 0), 0.36);
  EXPECT_DOUBLE_EQ(stream_drop_loss(counts, {100, 50, 8, 1}, 0), 0.0);
  EXPECT_DOUBLE_EQ(stream_drop_loss(ShardCounts(Numbers(3, 0)), {3, 1, 8, 1}, 0), 0.0);
}

}  // namespace
}  // namespace headrace
