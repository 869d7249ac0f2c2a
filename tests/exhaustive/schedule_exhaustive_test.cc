// SPDX-License-Identifier: Apache-2.0
//
// Every epoch of 1..108 samples, every remainder rule, batch size and rank count 1..8: exactly
// once, equal steps, the same global batches for every rank count, and from every cut on the same
// rows as if it had never stopped; with another batch size from the cut on, nothing twice and
// nothing lost.
#include <gtest/gtest.h>

#include <algorithm>

#include "plan/schedule.h"
#include "worlds.h"

namespace headrace::exhaustive {
namespace {

constexpr uint64_t kEpochMax = kShardsMax * kSamplesOfShardMax;
constexpr Remainder kRules[] = {Remainder::kDrop, Remainder::kPad, Remainder::kWrap,
                                Remainder::kShort};

struct Step {
  std::vector<Row> rows;
  Position after;
};

// `steps` steps over as many epochs as they take.
std::vector<Step> run(const ScheduleSpec& spec, Position start, size_t steps) {
  auto schedule = Schedule::make(spec, start);
  EXPECT_TRUE(schedule.ok()) << schedule.status().message();
  std::vector<Step> found;
  for (int refused = 0; found.size() < steps && refused < 2;) {
    Step step;
    if (schedule->next(step.rows, step.after)) {
      found.push_back(std::move(step));
      refused = 0;
    } else {
      schedule->next_epoch();
      ++refused;
    }
  }
  EXPECT_EQ(found.size(), steps);
  return found;
}

bool same(const std::vector<Step>& a, size_t from, const std::vector<Step>& b) {
  return a.size() - from == b.size() &&
         std::equal(
             a.begin() + static_cast<ptrdiff_t>(from), a.end(), b.begin(),
             [](const Step& x, const Step& y) { return x.rows == y.rows && x.after == y.after; });
}

// Of one rank count: by rank, the steps that it does.
using ByRank = std::vector<std::vector<Step>>;

struct World {
  uint64_t samples, batch, epoch;
  Remainder rule;

  ScheduleSpec spec(uint32_t rank, uint32_t ranks) const {
    return {samples, batch, rank, ranks, rule};
  }
  uint64_t drop() const { return rule == Remainder::kDrop ? samples % batch : 0; }
  size_t steps_of_epoch() const {
    return rule == Remainder::kDrop ? samples / batch : (samples + batch - 1) / batch;
  }
  std::string text() const {
    return "samples " + std::to_string(samples) + " batch " + std::to_string(batch) + " epoch " +
           std::to_string(epoch) + " " + std::string(remainder_name(rule));
  }
};

// One rank: the positions of the epoch from D on, each once, in order; under wrap those of the next
// epoch follow.
void check_one_rank(const World& world, const std::vector<Step>& steps) {
  uint64_t next = world.epoch * world.samples + world.drop();
  const size_t epoch_steps = world.steps_of_epoch();
  for (size_t s = 0; s < steps.size(); ++s) {
    if (s == epoch_steps && world.rule != Remainder::kWrap) {  // the second epoch begins
      ASSERT_EQ(next, (world.epoch + 1) * world.samples) << world.text();
      next += world.drop();
    }
    for (const Row& row : steps[s].rows) {
      if (!row.valid) continue;
      ASSERT_EQ(row.epoch * world.samples + row.position, next) << world.text() << " step " << s;
      ++next;
    }
    if (world.rule == Remainder::kShort) continue;
    ASSERT_EQ(steps[s].rows.size(), world.batch);
  }
}

// The ranks' rows are those of one rank, dealt by running count; all do the same steps.
void check_ranks(const World& world, const std::vector<Step>& one, const ByRank& ranks) {
  for (size_t s = 0; s < one.size(); ++s) {
    std::vector<size_t> taken(ranks.size());
    for (const Row& row : one[s].rows) {
      if (!row.valid) continue;
      const size_t rank = (row.epoch * world.samples + row.position) % ranks.size();
      const std::vector<Row>& rows = ranks[rank][s].rows;
      ASSERT_LT(taken[rank], rows.size()) << world.text() << " ranks " << ranks.size();
      ASSERT_EQ(rows[taken[rank]++], row) << world.text() << " ranks " << ranks.size();
    }
    for (size_t rank = 0; rank < ranks.size(); ++rank) {
      const std::vector<Row>& rows = ranks[rank][s].rows;
      ASSERT_EQ(ranks[rank][s].after, one[s].after) << world.text();
      if (world.rule != Remainder::kShort) {
        ASSERT_EQ(rows.size(), world.batch / ranks.size());
      }
      for (size_t i = taken[rank]; i < rows.size(); ++i) ASSERT_FALSE(rows[i].valid);
    }
  }
}

void check_cuts(const World& world, const ByRank& ranks, Tally& tally) {
  const auto count = static_cast<uint32_t>(ranks.size());
  for (size_t cut = 0; cut < ranks[0].size(); ++cut) {
    for (uint32_t rank = 0; rank < count; ++rank) {
      const auto& whole = ranks[rank];
      const auto rest = run(world.spec(rank, count), whole[cut].after, whole.size() - cut - 1);
      ASSERT_TRUE(same(whole, cut + 1, rest))
          << world.text() << " rank " << rank << " of " << count << " cut " << cut;
    }
    tally.add((ranks[0].size() - cut) * world.batch);
  }
}

TEST(ExhaustiveSchedule, EveryEpochRuleBatchRankCountAndCut) {
  Tally tally("schedules of 1..108 samples, all rules, batches, rank counts 1..8, all cuts");
  for (uint64_t samples = 1; samples <= kEpochMax; ++samples) {
    for (uint64_t batch = 1; batch <= (full() ? kEpochMax : 32); ++batch) {
      for (const Remainder rule : kRules) {
        const World world{samples, batch, (7 * samples + batch) % 5, rule};
        if (rule == Remainder::kDrop && batch > samples) continue;
        const size_t steps = 2 * world.steps_of_epoch();
        const Position start{world.epoch, 0, 0};
        const auto one = run(world.spec(0, 1), start, steps);
        check_one_rank(world, one);
        for (uint32_t count = 1; count <= kRanksMax; ++count) {
          if (batch % count != 0) continue;
          ByRank ranks;
          for (uint32_t rank = 0; rank < count; ++rank) {
            ranks.push_back(run(world.spec(rank, count), start, steps));
          }
          check_ranks(world, one, ranks);
          check_cuts(world, ranks, tally);
          if (HasFailure()) return;
        }
      }
    }
  }
}

// From the cut on with another batch size, to the end of the epoch.
void change_batch(const World& world, const std::vector<Step>& steps, size_t cut, uint64_t batch) {
  World later = world;
  later.batch = batch;
  const Position at = steps[cut].after;
  auto schedule = Schedule::make(later.spec(0, 1), at);
  ASSERT_TRUE(schedule.ok()) << schedule.status().message();
  // At an epoch's start D follows from the new batch size.
  uint64_t next = at.epoch * world.samples + schedule->position().position;
  const bool inside = at.epoch == world.epoch;
  ASSERT_TRUE(!inside || next == at.epoch * world.samples + at.position);
  Step step;
  uint64_t left = schedule->batches_left_in_epoch();
  while (left > 0 && schedule->next(step.rows, step.after)) {
    for (const Row& row : step.rows) {
      if (!row.valid) continue;
      ASSERT_EQ(row.epoch * world.samples + row.position, next++) << world.text();
    }
    --left;
  }
  ASSERT_EQ(left, 0u) << world.text() << " cut " << cut << " then batch " << batch;
  const uint64_t end = (at.epoch + 1) * world.samples;
  const uint64_t lost = world.rule == Remainder::kDrop ? batch - 1 : 0;
  ASSERT_GE(next + lost, end) << world.text() << " cut " << cut << " then batch " << batch;
  if (world.rule != Remainder::kWrap) {
    ASSERT_LE(next, end);
  }
}

TEST(ExhaustiveSchedule, AnotherBatchSizeFromEveryCutOn) {
  Tally tally("schedules of 1..108 samples, all rules, another batch size from every cut on");
  for (uint64_t samples = 1; samples <= kEpochMax; ++samples) {
    for (uint64_t batch = 1; batch <= std::min<uint64_t>(samples, full() ? kEpochMax : 32);
         ++batch) {
      for (const Remainder rule : kRules) {
        const World world{samples, batch, samples % 3, rule};
        const auto steps = run(world.spec(0, 1), {world.epoch, 0, 0}, world.steps_of_epoch());
        for (size_t cut = 0; cut < steps.size(); ++cut) {
          for (uint64_t other = 1; other <= std::min<uint64_t>(samples, full() ? kEpochMax : 32);
               ++other) {
            change_batch(world, steps, cut, other);
            tally.add(samples - steps[cut].after.position);
            if (HasFailure()) return;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace headrace::exhaustive
