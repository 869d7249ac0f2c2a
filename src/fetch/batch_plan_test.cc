// SPDX-License-Identifier: Apache-2.0
//
// BatchPlan: its rows against Order and Schedule taken by hand, what a rank will want of a segment against all that it
// is given later, and going back to a mark.
#include "fetch/batch_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <set>

#include "plan/integers.h"

namespace headrace {
namespace {

SourceSpec source_of(std::vector<uint64_t> counts, uint64_t block, uint64_t lanes, Shuffle shuffle, uint64_t seed = 1) {
  SourceSpec source;
  source.counts = std::make_shared<const ShardCounts>(std::move(counts));
  source.order = {seed, 0, block, lanes, shuffle};
  return source;
}

BatchPlanSpec one_source(uint64_t block, uint64_t lanes, Shuffle shuffle, uint32_t rank, uint32_t ranks) {
  BatchPlanSpec spec;
  spec.sources = {source_of({40, 0, 27, 33}, block, lanes, shuffle)};
  spec.schedule = {0, 3 * ranks, rank, ranks, Remainder::kShort};
  spec.epochs = 2;
  return spec;
}

BatchPlanSpec mixture(uint64_t group, uint64_t batch, uint32_t rank, uint32_t ranks, bool changes) {
  BatchPlanSpec spec;
  spec.sources = {source_of({30, 31}, 4, 6, Shuffle::kStratified, 1), source_of({17}, 5, 3, Shuffle::kBlock, 2),
                  source_of({200}, 8, 10, Shuffle::kStratified, 3)};
  spec.schedule = {0, batch, rank, ranks, Remainder::kDrop};
  spec.mixture.emplace();
  spec.mixture->sources = {{"a", 0, SourceEnd::kRepeat},
                           {"b", 0, changes ? SourceEnd::kStop : SourceEnd::kRepeat},
                           {"c", 0, changes ? SourceEnd::kEnd : SourceEnd::kRepeat}};
  spec.mixture->seed = 5;
  spec.mixture->group = group;
  spec.mixture->epoch_samples = 600;
  spec.mixture->changes = {{0, *mixture_weights(std::vector<double>{0.3, 0.2, 0.5})}};
  if (changes) spec.mixture->changes.push_back({5, *mixture_weights(std::vector<double>{0.6, 0.1, 0.3})});
  spec.epochs = 2;
  return spec;
}

using Key = std::tuple<uint32_t, uint64_t, uint64_t>;  // source, epoch, segment

struct Given {
  PlanRow row;
  uint64_t batch;
  std::vector<uint32_t> wanted;
};

std::vector<Given> run(BatchPlanSpec spec) {
  BatchPlan plan = *BatchPlan::make(std::move(spec));
  std::vector<Given> out;
  std::vector<PlanRow> rows;
  PlanPoint after;
  for (uint64_t batch = 0; plan.next(rows, after); ++batch) {
    for (const PlanRow& row : rows) {
      out.push_back({row, batch, {}});
      plan.wanted(row, out.back().wanted);
    }
  }
  return out;
}

// The indices of the row's segment that the rank is given from this row on, and in later batches only.
std::set<uint32_t> given_later(const std::vector<Given>& all, size_t from, bool later_batches_only) {
  const Given& first = all[from];
  const Key key{first.row.source, first.row.epoch, first.row.segment};
  std::set<uint32_t> out = {first.row.index};
  for (size_t i = from + 1; i < all.size(); ++i) {
    const PlanRow& row = all[i].row;
    if (Key{row.source, row.epoch, row.segment} != key || !row.valid) continue;
    if (later_batches_only && all[i].batch == first.batch) continue;
    out.insert(row.index);
  }
  return out;
}

TEST(BatchPlan, RowsArePlacesOfTheOrderAtThePositionsOfTheSchedule) {
  for (Shuffle shuffle : {Shuffle::kStratified, Shuffle::kBlock, Shuffle::kGlobal, Shuffle::kNone}) {
    const BatchPlanSpec spec = one_source(6, 7, shuffle, 1, 4);
    BatchPlan plan = *BatchPlan::make(spec);
    ScheduleSpec by_hand = spec.schedule;
    by_hand.samples = 100;
    Schedule schedule = *Schedule::make(by_hand, {});
    std::vector<PlanRow> rows;
    std::vector<Row> expected;
    std::vector<uint64_t> samples;
    PlanPoint after;
    Position position;
    while (plan.next(rows, after)) {
      if (!schedule.next(expected, position)) {
        schedule.next_epoch();
        ASSERT_TRUE(schedule.next(expected, position));
      }
      EXPECT_EQ(after.at, position);
      ASSERT_EQ(rows.size(), expected.size());
      for (size_t i = 0; i < rows.size(); ++i) {
        EXPECT_EQ((Row{rows[i].epoch, rows[i].position, rows[i].valid}), expected[i]);
        OrderSpec order_spec = spec.sources[0].order;
        order_spec.epoch = rows[i].epoch;
        plan.samples(rows[i], samples);
        EXPECT_EQ(samples[rows[i].index], Order::make(spec.sources[0].counts, order_spec)->at(rows[i].position));
      }
    }
    EXPECT_FALSE(schedule.next(expected, position));
  }
}

TEST(BatchPlan, WantsOfAMainSegmentExactlyWhatTheRankIsGivenLater) {
  for (Shuffle shuffle : {Shuffle::kStratified, Shuffle::kBlock, Shuffle::kGlobal, Shuffle::kNone}) {
    for (uint64_t lanes : {1u, 4u, 7u, 12u}) {
      for (uint32_t ranks : {1u, 2u, 3u, 4u, 5u}) {
        const BatchPlanSpec spec = one_source(6, lanes, shuffle, ranks - 1, ranks);
        const std::vector<Given> all = run(spec);
        Order order = *Order::make(spec.sources[0].counts, spec.sources[0].order);
        size_t exact = 0;
        for (size_t i = 0; i < all.size(); ++i) {
          const std::set<uint32_t> later = given_later(all, i, false);
          const std::set<uint32_t> wanted(all[i].wanted.begin(), all[i].wanted.end());
          ASSERT_EQ(wanted.size(), all[i].wanted.size());
          ASSERT_EQ(all[i].wanted[0], all[i].row.index);
          ASSERT_TRUE(std::ranges::includes(later, wanted));
          if (shuffle != Shuffle::kNone && all[i].row.position >= order.main_size()) continue;
          ASSERT_EQ(wanted, later);
          ++exact;
        }
        EXPECT_GT(exact, 0u);
      }
    }
  }
}

TEST(BatchPlan, WantsOfAMixtureExactlyWhatLaterBatchesBring) {
  for (const auto& [group, batch, ranks] : {std::tuple(1u, 6u, 1u), std::tuple(2u, 12u, 2u), std::tuple(6u, 12u, 3u),
                                            std::tuple(3u, 12u, 2u), std::tuple(4u, 12u, 3u)}) {
    for (uint32_t rank = 0; rank < ranks; ++rank) {
      // Without an end or change nothing is unknown but what lies behind the mixture's epoch, and a source's tail.
      const std::vector<Given> all = run(mixture(group, batch, rank, ranks, false));
      const uint64_t first_epoch = 600 / batch;
      size_t exact = 0;
      for (size_t i = 0; i < all.size(); ++i) {
        const std::set<uint32_t> later = given_later(all, i, true);
        const std::set<uint32_t> wanted(all[i].wanted.begin(), all[i].wanted.end());
        ASSERT_TRUE(std::ranges::includes(later, wanted)) << i;
        exact += wanted == later ? 1 : 0;
        if (wanted == later || all[i].batch + 40 > first_epoch) continue;
        const uint64_t n = std::array{61, 17, 200}[all[i].row.source];
        ASSERT_GT(all[i].row.position, n / 2) << "only of a tail may some be left out";
      }
      EXPECT_GT(exact, all.size() * 9 / 10);
    }
  }
}

TEST(BatchPlan, NeverWantsWhatDoesNotComeThoughSourcesStopAndWeightsChange) {
  for (uint32_t rank = 0; rank < 3; ++rank) {
    const std::vector<Given> all = run(mixture(4, 12, rank, 3, true));
    ASSERT_GT(all.size(), 100u);
    for (size_t i = 0; i < all.size(); ++i) {
      const std::set<uint32_t> wanted(all[i].wanted.begin(), all[i].wanted.end());
      ASSERT_TRUE(std::ranges::includes(given_later(all, i, true), wanted)) << i;
    }
  }
}

TEST(BatchPlan, GoesOnFromAMarkAsItDidBefore) {
  for (bool mixed : {false, true}) {
    BatchPlan plan = *BatchPlan::make(mixed ? mixture(4, 12, 1, 3, true) : one_source(6, 7, Shuffle::kStratified, 1, 4));
    std::vector<PlanRow> rows;
    PlanPoint after;
    std::vector<BatchPlan::Mark> marks;
    std::vector<std::vector<std::pair<uint64_t, uint64_t>>> seen;
    const auto step = [&] {
      std::vector<std::pair<uint64_t, uint64_t>> positions;
      for (const PlanRow& row : rows) positions.emplace_back(row.epoch << 8 | row.source, row.position);
      return positions;
    };
    for (marks.push_back(plan.mark()); plan.next(rows, after); marks.push_back(plan.mark())) seen.push_back(step());
    ASSERT_GT(seen.size(), 10u);
    for (size_t from = 0; from < seen.size(); from += 3) {
      plan.rewind(marks[from]);
      for (size_t i = from; i < seen.size(); ++i) {
        ASSERT_TRUE(plan.next(rows, after));
        EXPECT_EQ(step(), seen[i]);
      }
      EXPECT_FALSE(plan.next(rows, after));
    }
  }
}

TEST(BatchPlan, EndsAfterItsEpochsOrItsBatches) {
  BatchPlanSpec spec = one_source(6, 7, Shuffle::kStratified, 0, 1);
  EXPECT_EQ(run(spec).size(), 200u);
  spec.batches_max = 5;
  EXPECT_EQ(run(spec).size(), 15u);
  spec.start = {0, 99, 0};
  spec.batches_max = 0;
  EXPECT_EQ(run(spec).size(), 101u);
}

TEST(BatchPlan, RefusesWeightsOrASelectionOfAnotherDataSet) {
  BatchPlanSpec spec = one_source(6, 7, Shuffle::kStratified, 0, 1);
  spec.sources[0].draws = {{0, 0, *WeightedDraws::from_runs(std::vector<WeightedDraws::Run>{{0, 1.0}}, 99, 1)}};
  const auto wrong_draws = BatchPlan::make(spec);
  ASSERT_FALSE(wrong_draws.ok());
  EXPECT_EQ(wrong_draws.status().message(), "plan batches: weights of 99 samples, the data set has 100");
  spec.sources[0].draws.clear();
  spec.sources[0].selection = std::make_shared<const Selection>(*Selection::make({1}, 7));
  const auto wrong_selection = BatchPlan::make(spec);
  ASSERT_FALSE(wrong_selection.ok());
  EXPECT_EQ(wrong_selection.status().message(), "plan batches: a selection of 7 samples, the data set has 100");
  spec.sources[0].draws = {{0, 0, *WeightedDraws::from_runs(std::vector<WeightedDraws::Run>{{0, 1.0}}, 100, 1)}};
  EXPECT_EQ(BatchPlan::make(spec).status().code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace headrace
