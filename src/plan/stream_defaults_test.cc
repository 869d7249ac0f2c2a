// SPDX-License-Identifier: Apache-2.0
//
// Streams and slots from the stated memory: arithmetic on paper.
#include "plan/stream_defaults.h"

#include <gtest/gtest.h>

namespace headrace {
namespace {

constexpr uint64_t kMiB = 1 << 20;

TEST(StreamDefaults, FollowFromShardsRanksAndMemory) {
  // 1 GiB, 100 shards: 256 MiB for reading hold 400 streams of 640 KiB and two samples of 100 KB, more than there are
  // shards. P: of 420, 120, 60, 24, ... the first that has a multiple between 75 and 100 is 24, with 96.
  StreamFacts facts{.shards = 100, .sample_bytes = 100'000, .decoder_bytes = 0, .world = 1, .memory_bytes = 1024 * kMiB};
  StreamChoice found = *choose_streams(facts);
  EXPECT_EQ(found.streams, 96u);
  // (256 MiB / 96 - 128 KiB - 200,000) / 2 = 1,232,565.3
  EXPECT_EQ(found.chunk_bytes, 1'232'565u);
  // 0.4 GiB / 96 / (110,000 + 512) = 40.48
  EXPECT_EQ(found.slots, 40u);
  EXPECT_EQ(found.fill_bytes, 96u * 40 * 100'000);
  // Two ranks have twice the memory, and the same streams.
  facts.world = 2;
  found = *choose_streams(facts);
  EXPECT_EQ(found.streams, 96u);
  EXPECT_EQ(found.slots, 80u);
}

TEST(StreamDefaults, StreamsAreAMultipleOfTheRanksWithManyDivisors) {
  const auto streams = [](uint64_t shards, uint64_t world) {
    return choose_streams({.shards = shards, .sample_bytes = 1000, .world = world})->streams;
  };
  EXPECT_EQ(streams(5000, 1), 360u);  // 256 MiB hold 408
  EXPECT_EQ(streams(5000, 7), 420u);
  EXPECT_EQ(streams(5000, 64), 384u);
  EXPECT_EQ(streams(10, 4), 8u);
  EXPECT_EQ(streams(7, 7), 7u);
  EXPECT_EQ(streams(1, 1), 1u);
}

TEST(StreamDefaults, LittleMemoryHoldsFewerStreams) {
  StreamFacts facts{.shards = 100, .sample_bytes = 1000, .world = 1, .memory_bytes = 64 * kMiB};
  // 16 MiB / (128 KiB + 2,000 + 512 KiB) = 25.5
  EXPECT_EQ(choose_streams(facts)->streams, 24u);
  facts.decoder_bytes = 8 * kMiB;  // zstd at its highest levels
  EXPECT_EQ(choose_streams(facts)->streams, 1u);
  facts.memory_bytes = kMiB;
  const Status status = choose_streams(facts).status();
  EXPECT_NE(status.message().find("does not hold one stream"), std::string::npos) << status.message();
}

TEST(StreamDefaults, WhatIsGivenStaysAndIsChecked) {
  StreamFacts facts{.shards = 100, .sample_bytes = 1000, .world = 2, .memory_bytes = 64 * kMiB};
  facts.streams = 10;
  facts.slots = 5;
  EXPECT_EQ(choose_streams(facts)->streams, 10u);
  EXPECT_EQ(choose_streams(facts)->slots, 5u);
  facts.streams = 9;  // not a multiple of 2 ranks
  EXPECT_FALSE(choose_streams(facts).ok());
  facts.streams = 0;
  facts.shards = 1;
  EXPECT_NE(choose_streams(facts).status().message().find("1 shards for 2 ranks"), std::string::npos);
}

// 100 equal shards: 64 streams would leave out 36 % (order.md), 100 and 50 nothing.
TEST(StreamDefaults, KnownCountsChooseStreamsThatDropLittle) {
  StreamFacts facts{.shards = 100, .sample_bytes = 1000, .world = 1, .memory_bytes = 64 * kMiB};
  facts.counts.assign(100, 50);
  const StreamChoice found = *choose_streams(facts);
  EXPECT_EQ(found.drop_loss, 0);
  EXPECT_EQ(100 % found.streams, 0u);
}

}  // namespace
}  // namespace headrace
