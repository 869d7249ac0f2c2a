// SPDX-License-Identifier: Apache-2.0
//
// MixtureSchedule: what happens at changes, stops and ends, on paper.
#include <gtest/gtest.h>

#include <algorithm>

#include "plan/integers.h"
#include "plan/mixture.h"

namespace headrace {
namespace {

using Numbers = std::vector<uint64_t>;
constexpr uint64_t kHalf = uint64_t{1} << 31;

// Two sources of equal weight: units go 0, 1, 0, 1, ... (left gets the half rounded up; ties: the
// lower source is the left child).
MixtureSpec two(SourceEnd first, SourceEnd second) {
  return {.sources = {{"a", 10, first}, {"b", 7, second}},
          .seed = 3,
          .group = 1,
          .batch = 4,
          .epoch_samples = 17,
          .changes = {{0, {kHalf, kHalf}}}};
}

MixtureSchedule made(const MixtureSpec& spec, MixturePoint start = {}) {
  auto schedule = MixtureSchedule::make(spec, std::move(start));
  EXPECT_TRUE(schedule.ok()) << schedule.status().message();
  return *schedule;
}

struct Step {
  std::vector<Row> rows;
  MixturePoint after;
  friend bool operator==(const Step&, const Step&) = default;
};

// `steps` batches across epochs, fewer where the mixture ends.
std::vector<Step> run(MixtureSchedule schedule, size_t steps) {
  std::vector<Step> found;
  bool refused = false;
  while (found.size() < steps && !(refused && schedule.over())) {
    Step step;
    refused = !schedule.next(step.rows, step.after);
    if (refused) {
      schedule.next_epoch();
    } else {
      found.push_back(std::move(step));
    }
  }
  return found;
}

// Positions of a source in the rows, sorted: (epoch, position).
std::vector<std::pair<uint64_t, uint64_t>> of_source(const std::vector<Row>& rows,
                                                     uint32_t source) {
  std::vector<std::pair<uint64_t, uint64_t>> found;
  for (const Row& row : rows) {
    if (row.source == source) found.emplace_back(row.epoch, row.position);
  }
  std::sort(found.begin(), found.end());
  return found;
}

TEST(MixtureSchedule, UnitsLandWhereTheBatchsShufflePutsThem) {
  const auto steps = run(made(two(SourceEnd::kRepeat, SourceEnd::kRepeat)), 1);
  uint64_t place[4];
  shuffled(std::span<uint64_t>(place), order_key(3, 0, OrderTag::kMixture, 0));
  const Row units[4] = {{0, 0, true, 0}, {0, 0, true, 1}, {0, 1, true, 0}, {0, 1, true, 1}};
  for (int v = 0; v < 4; ++v) EXPECT_EQ(steps[0].rows[place[v]], units[v]);
  EXPECT_EQ(steps[0].after.units, 4u);
  EXPECT_EQ(steps[0].after.steps, 1u);
  EXPECT_EQ(steps[0].after.position, 4u);
}

// 17 / 4 = 4 batches an epoch; b wraps after 7 samples; the 17th is not lost.
TEST(MixtureSchedule, RepeatGoesOnThroughItsEpochsAndThoseOfTheMixture) {
  MixtureSchedule schedule = made(two(SourceEnd::kRepeat, SourceEnd::kRepeat));
  EXPECT_EQ(schedule.batches_per_epoch(), 4u);
  EXPECT_EQ(schedule.batches_left_in_epoch(), 4u);
  const auto steps = run(schedule, 9);
  EXPECT_EQ(of_source(steps[3].rows, 1),
            (std::vector<std::pair<uint64_t, uint64_t>>{{0, 6}, {1, 0}}));
  EXPECT_EQ(steps[3].after.epoch, 1u);
  EXPECT_EQ(steps[3].after.position, 0u);
  EXPECT_EQ(steps[3].after.sources[1], (Position{1, 1, 0}));
  EXPECT_EQ(steps[4].after.position, 4u);
  EXPECT_EQ(steps[8].after.epoch, 2u);
  EXPECT_EQ(steps[8].after.units, 36u);
  EXPECT_EQ(steps[8].after.sources[0], (Position{1, 8, 0}));
}

TEST(MixtureSchedule, AnEpochIsOverUntilTheNextIsEntered) {
  MixtureSchedule schedule = made(two(SourceEnd::kRepeat, SourceEnd::kRepeat));
  Step step;
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(schedule.next(step.rows, step.after));
  EXPECT_FALSE(schedule.next(step.rows, step.after));
  EXPECT_TRUE(step.rows.empty());
  EXPECT_FALSE(schedule.over());
  EXPECT_EQ(schedule.batches_left_in_epoch(), 4u);  // of the next
  schedule.next_epoch();
  EXPECT_TRUE(schedule.next(step.rows, step.after));
  schedule.next_epoch();  // early: the sources go on
  EXPECT_EQ(schedule.point().epoch, 2u);
  EXPECT_EQ(schedule.point().position, 0u);
  EXPECT_EQ(schedule.point().sources[0], (Position{1, 0, 0}));
}

// b has 7: after 3 batches (6 samples) it lacks the 2 of the 4th. a fills the batch alone, from
// units counted anew.
TEST(MixtureSchedule, StopTakesNoPartAfterItsEpoch) {
  const auto steps = run(made(two(SourceEnd::kRepeat, SourceEnd::kStop)), 6);
  ASSERT_EQ(steps.size(), 6u);
  EXPECT_EQ(of_source(steps[2].rows, 1).size(), 2u);
  EXPECT_EQ(steps[2].after.weights, (Numbers{kHalf, kHalf}));  // before batch 3, not after batch 2
  EXPECT_EQ(steps[3].after.weights, (Numbers{kHalf, 0}));
  EXPECT_EQ(steps[3].after.sources[1], (Position{1, 0, 0}));
  EXPECT_EQ(steps[3].after.units, 4u);
  for (size_t i = 3; i < 6; ++i) EXPECT_EQ(of_source(steps[i].rows, 0).size(), 4u);
}

TEST(MixtureSchedule, WhenAllHaveStoppedTheMixtureIsOver) {
  MixtureSpec spec = two(SourceEnd::kStop, SourceEnd::kStop);
  spec.epoch_samples = 1000;
  // 3 batches of 2 + 2; then a alone: 4 left of its 10, one batch; then it has 0.
  MixtureSchedule schedule = made(spec);
  EXPECT_EQ(schedule.batches_left_in_epoch(), 4u);
  const auto steps = run(schedule, 100);
  ASSERT_EQ(steps.size(), 4u);
  const MixturePoint& end = steps.back().after;
  MixtureSchedule resumed = made(spec, end);
  EXPECT_EQ(resumed.batches_left_in_epoch(), 0u);
  Step step;
  EXPECT_FALSE(resumed.next(step.rows, step.after));
  EXPECT_TRUE(resumed.over());
  resumed.next_epoch();
  EXPECT_FALSE(resumed.next(step.rows, step.after));
}

TEST(MixtureSchedule, AChangeDoesNotBringAStoppedSourceBack) {
  MixtureSpec spec = two(SourceEnd::kRepeat, SourceEnd::kStop);
  spec.changes.push_back({5, {kHalf, 3 * kHalf / 2}});
  spec.changes.push_back({6, {0, kHalf}});
  const auto steps = run(made(spec), 9);
  ASSERT_EQ(steps.size(), 6u);  // at step 6 only the stopped one would have a weight
  EXPECT_EQ(steps[5].after.weights, (Numbers{kHalf, 0}));
}

// b (7) ends the mixture's epoch before batch 3 and begins anew; a goes on.
TEST(MixtureSchedule, EndEndsTheEpochOfTheMixture) {
  MixtureSpec spec = two(SourceEnd::kRepeat, SourceEnd::kEnd);
  MixtureSchedule schedule = made(spec);
  EXPECT_EQ(schedule.batches_left_in_epoch(), 3u);
  Step step;
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(schedule.next(step.rows, step.after));
  EXPECT_EQ(step.after.sources[1], (Position{0, 6, 0}));
  EXPECT_EQ(schedule.batches_left_in_epoch(), 0u);
  EXPECT_FALSE(schedule.next(step.rows, step.after));
  EXPECT_EQ(schedule.point().epoch, 0u);  // nothing changed
  const MixturePoint at_end = schedule.point();
  schedule.next_epoch();
  Step next;
  ASSERT_TRUE(schedule.next(next.rows, next.after));
  EXPECT_EQ(of_source(next.rows, 1), (std::vector<std::pair<uint64_t, uint64_t>>{{1, 0}, {1, 1}}));
  EXPECT_EQ(next.after.epoch, 1u);
  EXPECT_EQ(next.after.sources[0], (Position{0, 8, 0}));

  // Who loads the state at the end goes on with the next epoch, without an empty one.
  MixtureSchedule resumed = made(spec, at_end);
  EXPECT_EQ(resumed.batches_left_in_epoch(), 3u);
  Step again;
  ASSERT_TRUE(resumed.next(again.rows, again.after));
  EXPECT_EQ(again, next);
}

// 8 samples are 4 batches to the last one: it stands at its very end, and that is its epoch's.
TEST(MixtureSchedule, AnEndSourceThatIsUsedUpStandsAtItsEnd) {
  MixtureSpec spec = two(SourceEnd::kRepeat, SourceEnd::kEnd);
  spec.sources[1].samples = 8;
  spec.epoch_samples = 1000;
  const auto steps = run(made(spec), 5);
  EXPECT_EQ(steps[3].after.sources[1], (Position{0, 8, 0}));
  EXPECT_EQ(steps[3].after.epoch, 0u);
  EXPECT_EQ(steps[4].after.epoch, 1u);
  EXPECT_EQ(steps[4].after.sources[1], (Position{1, 2, 0}));
}

TEST(MixtureSchedule, AChangeHoldsFromItsStepOnAndCountsUnitsAnew) {
  MixtureSpec spec = two(SourceEnd::kRepeat, SourceEnd::kRepeat);
  spec.changes.push_back({2, {0, kHalf}});
  const auto steps = run(made(spec), 4);
  EXPECT_EQ(of_source(steps[1].rows, 0).size(), 2u);
  EXPECT_EQ(steps[1].after.weights, (Numbers{kHalf, kHalf}));
  EXPECT_EQ(of_source(steps[2].rows, 1).size(), 4u);
  EXPECT_EQ(steps[2].after.units, 4u);
  EXPECT_EQ(steps[2].after.steps, 3u);
}

// The state's weights are in force; of the changes only those from its step on are applied.
TEST(MixtureSchedule, AStateKnowsItsWeights) {
  MixtureSpec spec = two(SourceEnd::kRepeat, SourceEnd::kRepeat);
  MixturePoint start{0, 12, 12, 3, {{0, 6, 0}, {0, 6, 0}}, {kHalf, kHalf / 2}};
  spec.changes = {{0, {1, 0}}, {2, {0, 1}}};
  EXPECT_EQ(made(spec, start).point().weights, (Numbers{kHalf, kHalf / 2}));
  EXPECT_EQ(made(spec, start).point().units, 12u);
  spec.changes.push_back({3, {5, 7}});
  EXPECT_EQ(made(spec, start).point().weights, (Numbers{5, 7}));
  EXPECT_EQ(made(spec, start).point().units, 0u);
}

std::string refused(const MixtureSpec& spec, MixturePoint start = {}) {
  const auto schedule = MixtureSchedule::make(spec, std::move(start));
  return schedule.ok() ? "made" : schedule.status().message();
}

#define EXPECT_REFUSED(text, words) EXPECT_NE((text).find(words), std::string::npos) << (text)

TEST(MixtureSchedule, RefusalsOfSourcesAndBatchesSayWhat) {
  const MixtureSpec good = two(SourceEnd::kRepeat, SourceEnd::kRepeat);
  const auto with = [&good](auto change) {
    MixtureSpec spec = good;
    change(spec);
    return refused(spec);
  };
  EXPECT_REFUSED(with([](auto& s) { s.sources.clear(); }), "sources=0, must be 1..1024");
  EXPECT_REFUSED(with([](auto& s) { s.sources[1].name = "a"; }), "\"a\": the name is used twice");
  EXPECT_REFUSED(with([](auto& s) { s.sources[1].name = ""; }), "a source has no name");
  EXPECT_REFUSED(with([](auto& s) { s.sources[0].name = std::string(65, 'n'); }), "has 65 bytes");
  EXPECT_REFUSED(with([](auto& s) { s.sources[0].samples = 0; }), "\"a\": samples=0, must be 1..");
  EXPECT_REFUSED(with([](auto& s) { s.group = 3; }), "g=3 batch=4; choose a batch size");
  EXPECT_REFUSED(with([](auto& s) { s.group = 0; }), "g=0");
  EXPECT_REFUSED(with([](auto& s) { s.world = 3; }), "batch=4 world=3");
  EXPECT_REFUSED(with([](auto& s) { s.rank = 1; }), "rank=1, must be below");
  EXPECT_REFUSED(with([](auto& s) { s.world = 0; }), "world=0");
  EXPECT_REFUSED(with([](auto& s) { s.batch = 0; }), "batch=0, must be 1..");
  EXPECT_REFUSED(with([](auto& s) { s.epoch_samples = 3; }), "epoch_samples=3, must be batch=4");
  EXPECT_REFUSED(with([](auto& s) {
                   s.sources[1].at_end = SourceEnd::kEnd;
                   s.sources[1].samples = 3;
                 }),
                 "\"b\": samples=3 are fewer than a batch of 4");
  EXPECT_REFUSED(with([](auto& s) {
                   s.sources[1].at_end = SourceEnd::kStop;
                   s.sources[1].samples = 1;
                 }),
                 "\"b\": samples=1 are fewer than its part of a batch, 2");
}

TEST(MixtureSchedule, RefusalsOfWeightsAndStartsSayWhat) {
  const MixtureSpec good = two(SourceEnd::kRepeat, SourceEnd::kRepeat);
  MixtureSpec spec = good;
  spec.changes.clear();
  EXPECT_REFUSED(refused(spec), "a new job has no weights");
  spec.changes = {{1, {1, 1}}};
  EXPECT_REFUSED(refused(spec), "give those of step 0");
  spec.changes = {{0, {1, 1}}, {5, {1, 1}}, {5, {1, 2}}};
  EXPECT_REFUSED(refused(spec), "weights of step 5: they must come after those of step 5");
  spec.changes = {{0, {1, 1, 1}}};
  EXPECT_REFUSED(refused(spec), "weights of step 0: 3 weights for 2 sources");
  spec.changes = {{0, {1, 1}}, {9, {0, 0}}};
  EXPECT_REFUSED(refused(spec), "weights of step 9: make mixture: no source has a weight");

  const MixturePoint start{0, 4, 4, 1, {{0, 2, 0}, {0, 2, 0}}, {1, 1}};
  EXPECT_EQ(refused(good, start), "made");
  MixturePoint bad = start;
  bad.sources.pop_back();
  EXPECT_REFUSED(refused(good, bad), "1 positions and 2 weights for 2 sources");
  bad = start;
  bad.sources[1].position = 7;
  EXPECT_REFUSED(refused(good, bad), "\"b\": the start is out of range: epoch=0 position=7");
  bad = start;
  bad.units = (uint64_t{1} << 48) + 1;
  EXPECT_REFUSED(refused(good, bad), "the start is out of range");
  bad = start;
  bad.weights[0] = kMixtureWeightMax + 1;
  EXPECT_REFUSED(refused(good, bad), "weight=4294967297");
}

TEST(MixtureSchedule, RankOfKnowsAllUntilTheNextEvent) {
  MixtureSpec spec = two(SourceEnd::kRepeat, SourceEnd::kRepeat);
  spec.epoch_samples = 100;
  spec.changes.push_back({5, {1, 2}});
  MixtureSchedule schedule = made(spec);
  EXPECT_EQ(schedule.rank_of(0, 0, 9), 0u);            // of batch 4
  EXPECT_EQ(schedule.rank_of(0, 1, 0), std::nullopt);  // of batch 5: after the change
  EXPECT_EQ(schedule.rank_of(1, 1, 2), 0u);
  EXPECT_EQ(schedule.rank_of(1, 1, 3), std::nullopt);
  EXPECT_EQ(schedule.rank_of(1, uint64_t{1} << 60, 3), std::nullopt);
}

}  // namespace
}  // namespace headrace
