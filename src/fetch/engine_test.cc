// SPDX-License-Identifier: Apache-2.0
//
// The engine in virtual time (testing_engine.h), budgets from generous to barely one batch. Memory that is short for
// whole ranges is engine_memory_test.cc, several data sets are engine_sources_test.cc.
#include "fetch/testing_engine.h"

namespace headrace {
namespace {

using namespace testing_engine;

TEST(FetchEngine, DeliversThePlanInEveryMode) {
  for (Shuffle shuffle : {Shuffle::kStratified, Shuffle::kBlock, Shuffle::kGlobal, Shuffle::kNone}) {
    for (Remainder remainder : {Remainder::kDrop, Remainder::kPad, Remainder::kWrap, Remainder::kShort}) {
      for (uint32_t ranks : {1u, 2u, 3u}) {
        for (uint64_t stride : {1u, 4u}) {
          World w;
          w.counts = {10, 7, 0, 12, 3, 41};
          w.shuffle = shuffle;
          w.remainder = remainder;
          w.ranks = ranks;
          w.rank = ranks - 1;
          w.stride = stride;
          w.epochs = 2;
          SCOPED_TRACE(testing::Message() << shuffle_name(shuffle) << " " << remainder_name(remainder) << " of "
                                          << ranks << " stride " << stride);
          Bench bench(w);
          bench.run();
          bench.expect_exact();
        }
      }
    }
  }
}

TEST(FetchEngine, KeepsTheOrderWithMemoryForBarelyABatch) {
  for (uint64_t memory : {1u << 20, 40u << 10, 20u << 10, 12u << 10}) {
    for (uint64_t seed = 1; seed <= 5; ++seed) {
      World w;
      w.counts = {100, 57, 83};
      w.block = 8;
      w.lanes = 10;
      w.epochs = 2;
      w.memory = memory;
      w.seed = seed;
      SCOPED_TRACE(testing::Message() << memory << " bytes, seed " << seed);
      Bench bench(w);
      bench.run(1);
      bench.expect_exact();
      EXPECT_LE(bench.budget->peak(), memory);
    }
  }
}

TEST(FetchEngine, LargeRequestsGoOutSideBySideThoughTwoOfThemAreTheLimitInBytes) {
  World w;
  w.counts = {60};
  w.sample_bytes = 2000;
  w.fetch.scatter_bytes_min = 900;
  w.fetch.request_bytes_max = 4000;
  w.fetch.requests_min = 8;
  w.fetch.queue_max = 1;
  w.block = 1;
  w.lanes = 30;
  Bench bench(w);
  bench.run();
  bench.expect_exact();
  EXPECT_EQ(bench.engine->metrics().in_flight_max, 8u);
}

TEST(FetchEngine, SaysWhenOneBatchCannotFit) {
  World w;
  w.counts = {100};
  w.memory = 4 << 10;
  Bench bench(w);
  bench.run(1);
  EXPECT_EQ(bench.sink->ends, 1);
  EXPECT_EQ(bench.sink->end_status.code(), Code::kExhausted);
  EXPECT_NE(bench.sink->end_status.message().find("memory budget"), std::string::npos);
  EXPECT_EQ(bench.budget->used(), 0u);
}

TEST(FetchEngine, ReadsEachByteOnceAndKeepsToTheRequestBound) {
  World w;
  w.counts = {500, 500, 501, 499};
  w.block = 10;
  w.lanes = 20;
  w.batch = 10;
  Bench bench(w);
  bench.run();
  bench.expect_exact();
  EXPECT_EQ(bench.store->bytes, 2000u * w.sample_bytes);
  // order specification, "What the engine owes": 1.05 (F + S' + 3 L).
  EXPECT_LE(bench.store->reads, 1.05 * (2000 / 10 + 2 + 3 * 20));
}

TEST(FetchEngine, ResumesAnywhereWithoutAGap) {
  World w;
  w.counts = {60, 41, 33};
  Bench whole(w);
  whole.run();
  for (uint64_t batches = 1; batches < 20; batches += 6) {
    Result<BatchPlan> plan = BatchPlan::make(whole.plan_spec());
    std::vector<PlanRow> rows;
    PlanPoint after;
    for (uint64_t i = 0; i < batches; ++i) ASSERT_TRUE(plan->next(rows, after));
    w.start = after.at;
    Bench rest(w);
    rest.run();
    rest.expect_exact();
    const std::vector<uint64_t> tail(whole.sink->samples.begin() + static_cast<long>(batches * w.batch),
                                     whole.sink->samples.end());
    EXPECT_EQ(rest.sink->samples, tail);
    w.start = {};
  }
}

TEST(FetchEngine, ReadsAgainWhatFailsItsChecksumAndGivesUpInTheEnd) {
  World w;
  w.counts = {40};
  {
    Bench bench(w);
    bench.store->flip_next = 3;
    bench.run();
    bench.expect_exact();
    EXPECT_GE(bench.engine->metrics().rereads.value(), 3u);
  }
  {
    Bench bench(w);
    bench.store->flip_next = 1'000'000;
    bench.run();
    EXPECT_EQ(bench.sink->end_status.code(), Code::kCorrupt);
    EXPECT_NE(bench.sink->end_status.message().find("shard0"), std::string::npos);
    EXPECT_EQ(bench.budget->used(), 0u);
  }
}

TEST(FetchEngine, TellsThatAShardChangedAfterIndexing) {
  World w;
  w.counts = {40};
  Bench bench(w);
  bench.memory.set("shard0", std::string(40 * 1000, 'x'));
  bench.run();
  EXPECT_EQ(bench.sink->end_status.code(), Code::kPrecondition);
  EXPECT_NE(bench.sink->end_status.message().find("shard0"), std::string::npos);
}

TEST(FetchEngine, GivesLaneMemoryToAnotherClaimantAndStaysExact) {
  World w;
  w.counts = {200, 100};
  w.block = 10;
  w.lanes = 15;
  w.memory = 80 << 10;
  Bench bench(w);
  bench.start();
  bench.executor.run_all();
  const uint64_t before = bench.budget->used();
  bench.engine->give_back(20 << 10);
  bench.executor.run_ready();
  EXPECT_LT(bench.budget->used(), before - (15 << 10));
  for (int i = 0; i < 500 && bench.sink->ends == 0; ++i) {
    bench.engine->allow(1);
    bench.executor.run_all();
    while (!bench.sink->held.empty()) {
      bench.sink->held.pop_back();
      bench.engine->batch_gone();
    }
    if (i % 3 == 0) bench.engine->give_back(30 << 10);
    bench.executor.run_all();
  }
  bench.expect_exact();
  EXPECT_GT(bench.engine->metrics().evicted.value(), 0u);
}

TEST(FetchEngine, GivesUpEvenTheNextBatchWhileTheConsumerHasAnother) {
  World w;
  w.counts = {200, 100};
  w.block = 10;
  w.lanes = 15;
  w.memory = 30 << 10;
  Bench bench(w);
  bench.start();
  bench.engine->allow(1);
  bench.executor.run_all();
  ASSERT_EQ(bench.sink->held.size(), 1u);
  uint64_t held = 0;
  for (const FetchedRow& row : bench.sink->held[0].rows) held += row.piece->buffer.charged();
  bench.engine->give_back(w.memory - held);
  bench.executor.run_ready();
  EXPECT_EQ(bench.budget->used(), held);
  while (bench.sink->ends == 0) {
    if (!bench.sink->held.empty()) {
      bench.sink->held.clear();
      bench.engine->batch_gone();
      bench.engine->allow(1);
    }
    ASSERT_GT(bench.executor.run_all(), 0u);
  }
  bench.sink->held.clear();
  bench.expect_exact();
}

}  // namespace
}  // namespace headrace
