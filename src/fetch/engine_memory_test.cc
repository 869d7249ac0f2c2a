// SPDX-License-Identifier: Apache-2.0
//
// The engine where memory is short for whole ranges, for several batches at once, or for what follows a batch. Each of
// these stood still, or went round in circles, before the simulation found it (tests/sim).
#include <set>

#include "fetch/testing_engine.h"

namespace headrace {
namespace {

using namespace testing_engine;

// What the batches that are out hold of the budget, each piece once.
uint64_t held_bytes(const std::vector<FetchedBatch>& batches) {
  std::set<const Piece*> pieces;
  uint64_t bytes = 0;
  for (const FetchedBatch& batch : batches) {
    for (const FetchedRow& row : batch.rows) {
      if (pieces.insert(row.piece).second) bytes += row.piece->buffer.charged();
    }
  }
  return bytes;
}

// Two ranks share each lane, so that what one wants of a segment is many small reads: the first of them fit, the rest do
// not, and what was taken is given back.
TEST(FetchEngineMemory, DoesNotTakeItsOwnReleasesForNews) {
  World w;
  w.counts = {200};
  w.block = 20;
  w.lanes = 5;
  w.batch = 3;
  w.ranks = 2;
  w.memory = 6 << 10;
  Bench bench(w);
  bench.start();
  EXPECT_LT(bench.executor.run_ready(), 1000u);  // it went on for ever here
  bench.run_on(1);
  bench.expect_exact();
}

TEST(FetchEngineMemory, PlansTheHeadBySampleWhereItsRangesFillAllMemory) {
  for (uint64_t kib : {6u, 11u, 12u, 15u, 21u, 30u}) {
    World w;
    w.counts = {300};
    w.block = 10;
    w.lanes = 15;
    w.epochs = 2;
    w.memory = kib << 10;
    w.fetch.scatter_bytes_min = 1 << 20;  // ranges stay whole
    w.fetch.gap_bytes_max = 1 << 20;
    SCOPED_TRACE(testing::Message() << kib << " KiB");
    Bench bench(w);
    bench.run(1);
    bench.expect_exact();
    EXPECT_LE(bench.budget->peak(), w.memory);
  }
}

TEST(FetchEngineMemory, CountsASampleOnceThatStandsInABatchManyTimes) {
  World w;
  w.counts = {3};
  w.batch = 8;
  w.remainder = Remainder::kPad;
  w.memory = 3 << 10;
  Bench bench(w);
  bench.run(1);
  bench.expect_exact();
}

TEST(FetchEngineMemory, BatchesThatAreOutLeaveRoomForTheirSlots) {
  for (bool ranges : {false, true}) {
    for (uint64_t slot_kib : {1u, 4u, 8u, 20u}) {
      World w;
      w.counts = {200, 100};
      w.block = 10;
      w.lanes = 15;
      w.memory = (6 + slot_kib + slot_kib / 2) << 10;
      w.fetch.slot_bytes = slot_kib << 10;
      if (ranges) w.fetch.scatter_bytes_min = w.fetch.gap_bytes_max = 1 << 20;
      SCOPED_TRACE(testing::Message() << "slot " << slot_kib << " KiB " << ranges);
      Bench bench(w);
      bench.start();
      bench.engine->allow(4);
      while (bench.sink->ends == 0) {
        bench.executor.run_all();
        std::vector<FetchedBatch>& held = bench.sink->held;
        ASSERT_FALSE(held.empty());
        ASSERT_LE(held_bytes(held) + held.size() * w.fetch.slot_bytes, w.memory);
        held.erase(held.begin());
        bench.engine->batch_gone();
        bench.engine->allow(1);
      }
      bench.sink->held.clear();
      bench.expect_exact();
    }
  }
}

// Batches whose rows stay where they were received need next to no slot, and say so.
TEST(FetchEngineMemory, ReadsAheadIntoWhatSmallerSlotsLeaveAndOnlyWhereThatIsNotTight) {
  for (const uint64_t memory_kib : {80u, 71u}) {  // three times the two slots is 72
    World w;
    w.counts = {2000};
    w.memory = memory_kib << 10;
    w.fetch.slot_bytes = 12 << 10;
    w.fetch.slots = 2;
    w.fetch.headroom_bytes = 24 << 10;
    SCOPED_TRACE(testing::Message() << memory_kib << " KiB");
    Bench bench(w);
    bench.start();
    bench.executor.run_all();
    const uint64_t before = bench.budget->used();
    EXPECT_LE(before, w.memory - (24 << 10));
    bench.engine->expect_slots(1 << 10);
    bench.executor.run_all();
    if (memory_kib == 80) {
      EXPECT_GT(bench.budget->used(), before + (16 << 10));  // of 22 KiB, less what samples do not fill
      EXPECT_LE(bench.budget->used(), w.memory - (2 << 10));
    } else {
      EXPECT_EQ(bench.budget->used(), before);
    }
    bench.engine->expect_slots(12 << 10);
    bench.engine->allow(2);
    bench.executor.run_all();
    bench.run_on(0);
    bench.expect_exact();
  }
}

// What is dropped must be memory that comes back: a range that a batch which is out holds, too, does not.
// Order specification, "What the engine owes": where a lane's blocks do not fit, bytes stay at 1.02x.
TEST(FetchEngineMemory, ReadsLittleTwiceWhereTheLanesWereMadeForMoreMemory) {
  World w;
  w.counts = {500, 500, 501, 499};
  w.block = 10;
  w.lanes = 100;
  w.batch = 10;
  for (const uint64_t share : {1, 2, 5, 20}) {  // of what the lanes hold when they have all they want
    w.memory = 100 * 10 * w.sample_bytes / 2 / share;
    Bench bench(w);
    bench.run();
    bench.expect_exact();
    EXPECT_LE(bench.store->bytes, 2000u * w.sample_bytes * 102 / 100) << "memory 1/" << share;
    EXPECT_LE(bench.store->reads, 2000u + 100);
  }
}

TEST(FetchEngineMemory, DropsNothingThatABatchIsHolding) {
  World w;
  w.counts = {10};
  w.block = 10;
  w.lanes = 1;
  w.shuffle = Shuffle::kNone;
  w.fetch.scatter_bytes_min = w.fetch.gap_bytes_max = 1 << 20;
  Bench bench(w);
  bench.start();
  bench.engine->allow(1);
  bench.executor.run_all();
  ASSERT_EQ(bench.sink->held.size(), 1u);
  bench.engine->give_back(w.memory);
  bench.run_on(1);
  bench.expect_exact();
  EXPECT_EQ(bench.store->reads, 1u);
}

}  // namespace
}  // namespace headrace
