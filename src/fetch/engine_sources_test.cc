// SPDX-License-Identifier: Apache-2.0
//
// The engine over several data sets, parts of one, and draws with replacement. Expected: what BatchPlan says (whose own
// test is batch_plan_test.cc), and the bytes of each sample.
#include <algorithm>

#include "fetch/testing_engine.h"

namespace headrace {
namespace {

using namespace testing_engine;

// Three sources of other sizes, strides and blocks.
World mixed_world(uint64_t group, uint32_t ranks, uint64_t batch) {
  World w;
  w.counts = {40, 21};
  w.more.push_back({{30, 0, 7}, 300, 4, 8, 3, Shuffle::kBlock, nullptr, {}});
  w.more.push_back({{90}, 2500, 1, 3, 7, Shuffle::kStratified, nullptr, {}});
  w.batch = batch;
  w.ranks = ranks;
  MixtureSpec mixture;
  mixture.sources = {{"a", 0, SourceEnd::kRepeat}, {"b", 0, SourceEnd::kRepeat}, {"c", 0, SourceEnd::kRepeat}};
  mixture.seed = 9;
  mixture.group = group;
  mixture.changes = {{0, *mixture_weights(std::vector<double>{0.5, 0.3, 0.2})},
                     {4, *mixture_weights(std::vector<double>{0.1, 0.8, 0.1})}};
  w.mixture = mixture;
  return w;
}

std::shared_ptr<const Selection> every_third(uint64_t samples) {
  std::vector<uint64_t> words((samples + 63) / 64);
  for (uint64_t s = 0; s < samples; s += 3) words[s / 64] |= uint64_t{1} << (s % 64);
  return std::make_shared<const Selection>(*Selection::make(std::move(words), samples));
}

std::shared_ptr<const WeightedDraws> uneven_draws(uint64_t samples, uint64_t seed) {
  return *WeightedDraws::from_runs(std::vector<WeightedDraws::Run>{{0, 20.0}, {2, 1.0}, {samples / 2, 0.0}}, samples, seed);
}

TEST(FetchEngineSources, DeliversAMixtureToEachRankWhetherOrNotTheGroupDividesAmongThem) {
  for (const auto& [group, ranks, batch] : {std::tuple(1u, 1u, 7u), std::tuple(6u, 3u, 4u), std::tuple(3u, 2u, 6u),
                                            std::tuple(4u, 6u, 2u), std::tuple(5u, 4u, 5u)}) {
    for (uint32_t rank = 0; rank < ranks; ++rank) {
      World w = mixed_world(group, ranks, batch);
      w.rank = rank;
      w.epochs = 2;
      SCOPED_TRACE(testing::Message() << "group " << group << " rank " << rank << " of " << ranks);
      Bench bench(w);
      bench.run();
      bench.expect_exact();
    }
  }
}

TEST(FetchEngineSources, KeepsAMixturesOrderWithMemoryForBarelyABatchAndOthersThatWantIt) {
  for (uint64_t kib : {22u, 26u, 40u, 200u}) {  // 7 rows of up to 2,560 bytes each
    World w = mixed_world(1, 1, 7);
    w.memory = kib << 10;
    SCOPED_TRACE(testing::Message() << kib << " KiB");
    Bench bench(w);
    bench.start();
    for (int i = 0; i < 2000 && bench.sink->ends == 0; ++i) {
      bench.engine->allow(1);
      if (i % 3 == 0) bench.engine->give_back(w.memory / 2);
      bench.executor.run_all();
      while (!bench.sink->held.empty()) {
        bench.sink->held.pop_back();
        bench.engine->batch_gone();
      }
    }
    bench.executor.run_all();
    bench.expect_exact();
    EXPECT_LE(bench.budget->peak(), w.memory);
  }
}

TEST(FetchEngineSources, ResumesAMixtureBehindAnyBatchWithAnotherRankCount) {
  World w = mixed_world(4, 1, 8);
  Bench whole(w);
  whole.run();
  BatchPlan plan = *BatchPlan::make(whole.plan_spec());
  std::vector<PlanRow> rows;
  PlanPoint after;
  for (uint64_t batches = 1; plan.next(rows, after); ++batches) {
    std::vector<std::vector<uint64_t>> of_rank;
    for (uint32_t rank = 0; rank < 2; ++rank) {
      World rest = mixed_world(4, 2, 4);
      rest.rank = rank;
      rest.mixture_start = *after.mixture;
      Bench bench(rest);
      bench.run();
      bench.expect_exact();
      of_rank.push_back(bench.sink->samples);
    }
    if (after.at.epoch > 0) break;
    ASSERT_EQ(of_rank[0].size(), of_rank[1].size());
    std::vector<uint64_t> joined;  // row i of a batch is rank i mod 2's
    for (size_t i = 0; i < of_rank[0].size(); ++i) {
      joined.push_back(of_rank[0][i]);
      joined.push_back(of_rank[1][i]);
    }
    const std::vector<uint64_t> tail(whole.sink->samples.begin() + static_cast<long>(batches * 8),
                                     whole.sink->samples.end());
    EXPECT_EQ(joined, tail) << batches;
  }
}

TEST(FetchEngineSources, ReadsOfASelectionOnlyWhatTakesPart) {
  for (uint32_t rank = 0; rank < 3; ++rank) {
    World w;
    w.counts = {50, 31, 0, 44};
    w.selection = every_third(125);
    w.ranks = 3;
    w.rank = rank;
    w.batch = 2;
    w.remainder = Remainder::kShort;
    Bench bench(w);
    bench.run();
    bench.expect_exact();
    EXPECT_EQ(bench.sink->samples.size(), 14u);  // 42 of 125 samples, a third of them
    for (const uint64_t sample : bench.sink->samples) EXPECT_EQ(sample % 3, 0u);
    EXPECT_EQ(bench.store->bytes, 14 * w.sample_bytes);
  }
}

TEST(FetchEngineSources, DrawsASampleManyTimesAlsoWithinABatchAndAcrossAChangeOfWeights) {
  for (uint64_t kib : {6u, 64u}) {
    World w;
    w.counts = {20, 20};
    w.draws = {{0, 0, uneven_draws(40, 3)}, {0, 17, uneven_draws(40, 4)}, {1, 5, uneven_draws(40, 5)}};
    w.epochs = 2;
    w.memory = kib << 10;
    Bench bench(w);
    bench.run(1);
    bench.expect_exact();
    const auto times = std::ranges::count(bench.sink->samples, 0u);
    EXPECT_GT(times, 20);  // expected: 80 draws of weight 20 / 58
    EXPECT_TRUE(std::ranges::all_of(bench.sink->samples, [](uint64_t s) { return s < 20; }));
  }
}

}  // namespace
}  // namespace headrace
