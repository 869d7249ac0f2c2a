// SPDX-License-Identifier: Apache-2.0
//
// Bytes that cutting makes are in the budget, and never stop a pass: where one batch with what was made of it does not
// fit, it is delivered all the same.
#include "fetch/testing_engine.h"

namespace headrace {
namespace {

using namespace testing_engine;

constexpr uint64_t kMadeEach = 20 << 10;  // of 1,000 stored bytes

World world_of(bool ranges, uint64_t memory) {
  World w;
  w.counts = {200, 100};
  w.block = 10;
  w.lanes = 5;
  w.memory = memory;
  if (ranges) {
    w.fetch.scatter_bytes_min = 1 << 20;
    w.fetch.gap_bytes_max = 1 << 20;
  }
  return w;
}

// Sees that what was made of a batch's pieces is counted while the batch is out.
class Counting final : public Collector {
 public:
  void on_batch(FetchedBatch batch) override {
    for (const FetchedRow& row : batch.rows) {
      made += row.piece->view.made_bytes();
      counted += row.piece->decoded.bytes();
    }
    Collector::on_batch(std::move(batch));
  }
  uint64_t made = 0, counted = 0;
};

TEST(FetchEngineMade, WhatCuttingMakesIsCountedWhileItIsHeld) {
  for (bool ranges : {false, true}) {
    Bench bench(world_of(ranges, 64 << 20));
    bench.cutters[0]->made_each = kMadeEach;
    const auto sink = std::make_shared<Counting>();
    bench.sink = sink;
    bench.run();
    bench.expect_exact();
    EXPECT_GE(sink->made, 300 * kMadeEach);
    EXPECT_EQ(sink->counted, sink->made);
  }
}

// Without the guess, all that was read ahead would be unpacked over the budget: 3 MB as 60 MB. What is on its way before
// the first piece is cut, here at most 8 reads, cannot be foreseen.
TEST(FetchEngineMade, ReadAheadLeavesRoomForWhatItWillMake) {
  for (bool ranges : {false, true}) {
    const uint64_t memory = 4 << 20;
    World w = world_of(ranges, memory);
    w.counts = {2000, 1000};
    w.fetch.requests_max = 4;
    w.fetch.queue_max = 4;
    Bench bench(w);
    bench.cutters[0]->made_each = kMadeEach;
    bench.run();
    bench.expect_exact();
    EXPECT_LE(bench.budget->peak(), memory + memory / 2);
  }
}

// One batch of 5 rows makes 100 KiB and more; in memory for its stored bytes alone it still comes, and so do all.
TEST(FetchEngineMade, BatchThatDoesNotFitWithItIsDeliveredAllTheSame) {
  for (bool ranges : {false, true}) {
    for (uint64_t kib : {6u, 12u, 24u, 48u, 96u, 200u, 400u}) {
      for (uint64_t slot_kib : {0u, 4u}) {
        SCOPED_TRACE(testing::Message() << kib << " KiB, ranges " << ranges << ", slots of " << slot_kib << " KiB");
        World w = world_of(ranges, (kib + slot_kib) << 10);
        w.fetch.slot_bytes = slot_kib << 10;
        w.fetch.slots = slot_kib > 0 ? 1 : 0;
        w.fetch.headroom_bytes = slot_kib << 10;
        Bench bench(w);
        bench.cutters[0]->made_each = kMadeEach;
        bench.run(1);
        bench.expect_exact();
      }
    }
  }
}

}  // namespace
}  // namespace headrace
