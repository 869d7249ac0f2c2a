// SPDX-License-Identifier: Apache-2.0
//
// Every world here is small enough to be tried whole: all ranks, all starts, all remainders.
#include "plan/schedule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace headrace {
namespace {

constexpr Remainder kRemainders[] = {Remainder::kDrop, Remainder::kPad, Remainder::kWrap,
                                     Remainder::kShort};

Schedule schedule_of(ScheduleSpec spec, Position start = {}) {
  return *Schedule::make(spec, start);
}

// One step of all ranks. `rows` are those of every rank, joined and sorted by running count.
struct Step {
  bool more = true;
  std::vector<Row> rows;
  Position after;
  std::string fault;
};
Step step_all(std::vector<Schedule>& ranks) {
  Step step;
  for (size_t r = 0; r < ranks.size(); ++r) {
    std::vector<Row> rows;
    Position after;
    const bool more = ranks[r].next(rows, after);
    if (r > 0 && (more != step.more || !(after == step.after))) step.fault = "ranks differ";
    step.more = more;
    step.after = after;
    if (more && !(after == ranks[r].position())) step.fault = "position() is not the state after";
    const auto& spec = ranks[r].spec();
    if (more && spec.remainder != Remainder::kShort && rows.size() != ranks[r].rows_per_batch()) {
      step.fault = "rows of a rank";
    }
    for (size_t i = 0; i < rows.size(); ++i) {
      if (rows[i].position >= spec.samples) step.fault = "row outside the epoch";
      if (!rows[i].valid) continue;
      if ((rows[i].epoch * spec.samples + rows[i].position) % spec.world != r) {
        step.fault = "row of another rank";
      }
      if (i > 0 && std::pair(rows[i].epoch, rows[i].position) <=
                       std::pair(rows[i - 1].epoch, rows[i - 1].position)) {
        step.fault = "rows out of order";
      }
    }
    step.rows.insert(step.rows.end(), rows.begin(), rows.end());
  }
  std::sort(step.rows.begin(), step.rows.end(), [](const Row& a, const Row& b) {
    return std::pair(a.epoch, a.position) < std::pair(b.epoch, b.position);
  });
  return step;
}

std::vector<Schedule> all_ranks(uint64_t samples, uint64_t batch, uint32_t world,
                                Remainder remainder, Position start) {
  std::vector<Schedule> ranks;
  for (uint32_t r = 0; r < world; ++r) {
    ranks.push_back(schedule_of(
        {.samples = samples, .batch = batch, .rank = r, .world = world, .remainder = remainder},
        start));
  }
  return ranks;
}

// Counts the valid rows of one step into seen[epoch - first][position]; the rows must be the next
// consecutive running counts.
std::string count_rows(const Step& step, uint64_t samples, uint64_t& running,
                       std::vector<int>& seen) {
  for (const Row& row : step.rows) {
    if (!row.valid) continue;
    if (row.epoch * samples + row.position != running) return "a position is missing or twice";
    ++running;
    if (running <= seen.size()) ++seen[running - 1];
  }
  return step.fault;
}

// Runs the rest of the epoch that `start` is in and checks it against arithmetic on paper.
std::string fault_of_epoch(uint64_t n, uint64_t b, uint32_t world, Remainder remainder,
                           Position start) {
  auto ranks = all_ranks(n, b, world, remainder, start);
  const Position begin = ranks[0].position();
  const uint64_t left = n - begin.position, steps = ranks[0].batches_left_in_epoch();
  const uint64_t steps_on_paper = remainder == Remainder::kDrop ? left / b : (left + b - 1) / b;
  if (steps != steps_on_paper) return "batches left";
  if (remainder == Remainder::kDrop && ranks[0].left_out_of_epoch() != begin.drop + left % b) {
    return "left out";
  }
  uint64_t running = begin.epoch * n + begin.position;
  std::vector<int> unused;
  for (uint64_t s = 0; s < steps; ++s) {
    const Step step = step_all(ranks);
    if (!step.more) return "ended early";
    if (std::string fault = count_rows(step, n, running, unused); !fault.empty()) return fault;
    if (s + 1 < steps && step.after.drop != begin.drop) return "D changed inside the epoch";
  }
  const uint64_t end = (begin.epoch + 1) * n;
  const uint64_t end_on_paper = remainder == Remainder::kDrop   ? end - left % b
                                : remainder == Remainder::kWrap ? end + (steps * b - left)
                                                                : end;
  if (running != end_on_paper) return "the epoch ended at " + std::to_string(running);
  if (remainder == Remainder::kWrap) return "";
  if (step_all(ranks).more) return "went over the end";
  for (Schedule& rank : ranks) rank.next_epoch();
  const uint64_t d = remainder == Remainder::kDrop ? n % b : 0;
  return ranks[0].position() == Position{begin.epoch + 1, d, d} ? "" : "start of the next epoch";
}

TEST(Schedule, DeliversTheRestOfAnEpochOnceFromEveryStartOnEveryRankCount) {
  for (uint32_t world = 1; world <= 8; ++world) {
    for (uint64_t rows = 1; rows <= 3; ++rows) {
      for (uint64_t n = 1; n <= 26; ++n) {
        for (Remainder remainder : kRemainders) {
          if (remainder == Remainder::kDrop && rows * world > n) continue;
          for (uint64_t position = 0; position < n; ++position) {
            for (uint64_t drop : {uint64_t{0}, position / 2}) {
              ASSERT_EQ(fault_of_epoch(n, rows * world, world, remainder, {3, position, drop}), "")
                  << "n=" << n << " world=" << world << " rows=" << rows << " at=" << position
                  << " drop=" << drop << " " << remainder_name(remainder);
            }
          }
        }
      }
    }
  }
}

TEST(Schedule, KeepsExactlyOnceWhenRanksAndBatchSizeChangeInsideAnEpoch) {
  constexpr uint64_t kN = 61;
  for (Remainder remainder : kRemainders) {
    for (uint32_t world_a : {1, 2, 3, 8}) {
      for (uint32_t world_b : {1, 4, 5, 7}) {
        for (uint64_t steps : {1, 2}) {
          auto before = all_ranks(kN, world_a * 2, world_a, remainder, {});
          uint64_t running = before[0].position().position;
          std::vector<int> seen(kN, 0);
          for (uint64_t s = 0; s < steps; ++s) {
            ASSERT_EQ(count_rows(step_all(before), kN, running, seen), "");
          }
          const Position state = before[0].position();

          auto after = all_ranks(kN, world_b * 3, world_b, remainder, state);
          const uint64_t left_out = after[0].left_out_of_epoch();
          const uint64_t batches = after[0].batches_left_in_epoch();
          EXPECT_EQ(after[0].position(), state);  // D and position are the state's
          for (uint64_t s = 0; s < batches; ++s) {
            ASSERT_EQ(count_rows(step_all(after), kN, running, seen), "");
          }

          const auto delivered = std::count(seen.begin(), seen.end(), 1);
          EXPECT_EQ(delivered + static_cast<int64_t>(left_out), int64_t{kN});
          EXPECT_EQ(std::count(seen.begin(), seen.end(), 0), static_cast<int64_t>(left_out));
          if (remainder != Remainder::kDrop) {
            EXPECT_EQ(left_out, 0u);
          }
        }
      }
    }
  }
}

TEST(Schedule, LeavesOutTheFirstPositionsUnderDrop) {
  Schedule schedule = schedule_of({.samples = 10, .batch = 4});
  std::vector<Row> rows;
  Position after;
  EXPECT_EQ(schedule.position(), (Position{0, 2, 2}));
  ASSERT_TRUE(schedule.next(rows, after));
  EXPECT_EQ(rows, (std::vector<Row>{{0, 2}, {0, 3}, {0, 4}, {0, 5}}));
  EXPECT_EQ(after, (Position{0, 6, 2}));
  ASSERT_TRUE(schedule.next(rows, after));
  EXPECT_EQ(after, (Position{1, 2, 2}));
  EXPECT_FALSE(schedule.next(rows, after));
  EXPECT_FALSE(schedule.next(rows, after));  // until next_epoch
  schedule.next_epoch();
  ASSERT_TRUE(schedule.next(rows, after));
  EXPECT_EQ(rows[0], (Row{1, 2}));
  EXPECT_EQ(schedule.batches_per_epoch(), 2u);
}

TEST(Schedule, ChoosesTheDropAnewWhereAnEpochHasNotBegun) {
  const ScheduleSpec batch_of_7{.samples = 10, .batch = 7};
  EXPECT_EQ(schedule_of(batch_of_7, {1, 2, 2}).position(), (Position{1, 3, 3}));
  const ScheduleSpec pad{.samples = 10, .batch = 7, .remainder = Remainder::kPad};
  EXPECT_EQ(schedule_of(pad, {1, 2, 2}).position(), (Position{1, 0, 0}));
  // One batch of 4 was delivered: its D stays, and what remains at the end is left out too.
  Schedule inside = schedule_of({.samples = 10, .batch = 3}, {1, 6, 2});
  EXPECT_EQ(inside.position(), (Position{1, 6, 2}));
  EXPECT_EQ(inside.batches_left_in_epoch(), 1u);
  EXPECT_EQ(inside.left_out_of_epoch(), 3u);
  std::vector<Row> rows;
  Position after;
  ASSERT_TRUE(inside.next(rows, after));
  EXPECT_EQ(after, (Position{2, 1, 1}));  // position 9 is left out
}

TEST(Schedule, HasNoBatchLeftWhereALargerOneDoesNotFit) {
  Schedule schedule = schedule_of({.samples = 10, .batch = 8}, {0, 6, 2});
  std::vector<Row> rows;
  Position after;
  EXPECT_EQ(schedule.batches_left_in_epoch(), 0u);
  EXPECT_EQ(schedule.left_out_of_epoch(), 6u);
  EXPECT_FALSE(schedule.next(rows, after));
  schedule.next_epoch();
  EXPECT_EQ(schedule.position(), (Position{1, 2, 2}));
}

TEST(Schedule, PadsWithTheRanksOwnRowsOfTheEpoch) {
  // 5 samples, epoch 1: running counts 5..9, so rank 0 of 2 has positions 1, 3 and rank 1 has 0,
  // 2, 4.
  const auto rows_of = [](uint32_t rank) {
    Schedule schedule = schedule_of(
        {.samples = 5, .batch = 8, .rank = rank, .world = 2, .remainder = Remainder::kPad},
        {1, 0, 0});
    std::vector<Row> rows;
    Position after;
    EXPECT_TRUE(schedule.next(rows, after));
    EXPECT_EQ(after, (Position{2, 0, 0}));
    return rows;
  };
  EXPECT_EQ(rows_of(0), (std::vector<Row>{{1, 1}, {1, 3}, {1, 1, false}, {1, 3, false}}));
  EXPECT_EQ(rows_of(1), (std::vector<Row>{{1, 0}, {1, 2}, {1, 4}, {1, 0, false}}));
}

TEST(Schedule, PadsARankWithoutSamplesWithTheEpochs) {
  Schedule schedule =
      schedule_of({.samples = 2, .batch = 9, .rank = 2, .world = 3, .remainder = Remainder::kPad});
  std::vector<Row> rows;
  Position after;
  ASSERT_TRUE(schedule.next(rows, after));
  EXPECT_EQ(rows, (std::vector<Row>{{0, 0, false}, {0, 1, false}, {0, 0, false}}));
}

TEST(Schedule, WrapsOverSeveralEpochs) {
  Schedule schedule =
      schedule_of({.samples = 3, .batch = 8, .remainder = Remainder::kWrap}, {4, 2, 0});
  std::vector<Row> rows;
  Position after;
  EXPECT_EQ(schedule.batches_left_in_epoch(), 1u);
  ASSERT_TRUE(schedule.next(rows, after));
  EXPECT_EQ(rows,
            (std::vector<Row>{{4, 2}, {5, 0}, {5, 1}, {5, 2}, {6, 0}, {6, 1}, {6, 2}, {7, 0}}));
  EXPECT_EQ(after, (Position{7, 1, 0}));
  EXPECT_TRUE(schedule.next(rows, after));  // there is always a next batch
}

TEST(Schedule, GivesAnEmptyLastBatchToARankUnderShort) {
  Schedule schedule = schedule_of(
      {.samples = 5, .batch = 4, .rank = 3, .world = 4, .remainder = Remainder::kShort});
  std::vector<Row> rows;
  Position after;
  ASSERT_TRUE(schedule.next(rows, after));
  EXPECT_EQ(rows, (std::vector<Row>{{0, 3}}));
  ASSERT_TRUE(schedule.next(rows, after));
  EXPECT_TRUE(rows.empty());
  EXPECT_EQ(after, (Position{1, 0, 0}));
}

TEST(Schedule, LeavesAnEpochEarly) {
  Schedule schedule = schedule_of({.samples = 10, .batch = 4});
  std::vector<Row> rows;
  Position after;
  ASSERT_TRUE(schedule.next(rows, after));
  schedule.next_epoch();
  EXPECT_EQ(schedule.position(), (Position{1, 2, 2}));
}

TEST(Schedule, CountsRanksWithoutOverflow) {
  // epoch * samples = 2^96 = (2^48 mod 7)^2 = 1 mod 7, since 2^3 = 1 mod 7.
  EXPECT_EQ(rank_of(uint64_t{1} << 48, 5, uint64_t{1} << 48, 7), 6u);
}

TEST(Schedule, RefusesWhatHasNoBatches) {
  const auto refused = [](ScheduleSpec spec, Position start = {}) {
    return Schedule::make(spec, start).status().code() == Code::kInvalidArgument;
  };
  EXPECT_TRUE(refused({.samples = 0, .batch = 1}));
  EXPECT_TRUE(refused({.samples = 5, .batch = 0}));
  EXPECT_TRUE(refused({.samples = 5, .batch = uint64_t{1} << 33}));
  EXPECT_TRUE(refused({.samples = 5, .batch = 6}));
  EXPECT_FALSE(refused({.samples = 5, .batch = 6, .remainder = Remainder::kWrap}));
  EXPECT_TRUE(refused({.samples = 50, .batch = 7, .world = 2}));
  EXPECT_TRUE(refused({.samples = 50, .batch = 8, .rank = 2, .world = 2}));
  EXPECT_TRUE(refused({.samples = 50, .batch = 8, .rank = 0, .world = 0}));
  EXPECT_TRUE(refused({.samples = 50, .batch = 8}, {0, 50, 0}));
  EXPECT_TRUE(refused({.samples = 50, .batch = 8}, {0, 3, 4}));
  EXPECT_TRUE(refused({.samples = 50, .batch = 8}, {0, 0, 50}));
  EXPECT_TRUE(refused({.samples = 50, .batch = 8}, {~uint64_t{0}, 0, 0}));
}

TEST(Remainder, NamesReadBack) {
  for (Remainder r : kRemainders) EXPECT_EQ(*parse_remainder(remainder_name(r)), r);
  EXPECT_EQ(parse_remainder("none").status().code(), Code::kInvalidArgument);
}

TEST(FillHoles, TakesTheNextGoodRowCyclically) {
  std::vector<uint32_t> from;
  const std::vector<uint8_t> good = {0, 1, 0, 0, 1, 0};
  ASSERT_TRUE(fill_holes(good, from).ok());
  EXPECT_EQ(from, (std::vector<uint32_t>{1, 1, 4, 4, 4, 1}));
}

TEST(FillHoles, RefusesABatchWithoutAGoodRow) {
  std::vector<uint32_t> from;
  EXPECT_EQ(fill_holes(std::vector<uint8_t>{0, 0}, from).code(), Code::kCorrupt);
  EXPECT_EQ(fill_holes({}, from).code(), Code::kCorrupt);
}

}  // namespace
}  // namespace headrace
