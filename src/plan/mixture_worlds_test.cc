// SPDX-License-Identifier: Apache-2.0
//
// MixtureSchedule over small random worlds: independent of ranks, resumable anywhere, in order, and
// as foretold by batches_left_in_epoch and rank_of.
#include <gtest/gtest.h>

#include <algorithm>

#include "plan/integers.h"
#include "plan/mixture.h"

namespace headrace {
namespace {

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

// Sources, sizes, ends, changes, group sizes and epochs of all kinds, small.
std::vector<MixtureSpec> worlds() {
  std::vector<MixtureSpec> specs;
  OrderStream random(99);
  for (int i = 0; i < 60; ++i) {
    MixtureSpec spec{.seed = random.draw(), .group = 1 + random.bounded(4)};
    spec.batch = spec.group * 12 / (1 + i % 2);
    const uint64_t sources = i % 10 == 0 ? 64 : 1 + random.bounded(6);
    uint64_t total = 0;
    for (uint64_t k = 0; k < sources; ++k) {
      const auto at_end = static_cast<SourceEnd>(random.bounded(i % 3 + 1));
      const uint64_t samples = spec.batch + random.bounded(5 * spec.batch);
      spec.sources.push_back({std::to_string(k), samples, at_end});
      total += samples;
    }
    spec.epoch_samples = i % 4 == 0 ? total : spec.batch * 5 + 1;
    for (const uint64_t step : {0, 3, 11}) {
      WeightChange change{step, {}};
      for (uint64_t k = 0; k < sources; ++k)
        change.weights.push_back(random.bounded(1000) + (k == 0));
      if (step == 0 || i % 2 == 0) spec.changes.push_back(change);
    }
    specs.push_back(spec);
  }
  return specs;
}

TEST(MixtureWorlds, TheGlobalBatchDoesNotDependOnTheRanks) {
  for (const MixtureSpec& world : worlds()) {
    const auto one = run(made(world), 20);
    for (uint32_t ranks = 2; ranks <= 8; ++ranks) {
      if (world.batch % ranks != 0) continue;
      for (uint32_t rank = 0; rank < ranks; ++rank) {
        MixtureSpec spec = world;
        spec.rank = rank;
        spec.world = ranks;
        const auto mine = run(made(spec), 20);
        ASSERT_EQ(mine.size(), one.size());  // equal steps
        for (size_t s = 0; s < mine.size(); ++s) {
          EXPECT_EQ(mine[s].after, one[s].after);
          ASSERT_EQ(mine[s].rows.size(), world.batch / ranks);
          for (size_t i = 0; i < mine[s].rows.size(); ++i) {
            EXPECT_EQ(mine[s].rows[i], one[s].rows[i * ranks + rank]);
          }
        }
      }
    }
  }
}

TEST(MixtureWorlds, ResumedAfterAnyStepIsNeverStopped) {
  for (const MixtureSpec& world : worlds()) {
    const auto whole = run(made(world), 24);
    for (size_t cut = 0; cut < whole.size(); ++cut) {
      const auto rest = run(made(world, whole[cut].after), whole.size() - cut - 1);
      const std::vector<Step> wanted(whole.begin() + static_cast<ptrdiff_t>(cut) + 1, whole.end());
      ASSERT_EQ(rest, wanted) << "cut after step " << cut;
    }
  }
}

// Every source delivers its samples in order, each once; stop and end sources never over an end.
TEST(MixtureWorlds, EverySourceIsDeliveredInOrder) {
  for (const MixtureSpec& world : worlds()) {
    std::vector<std::pair<uint64_t, uint64_t>> next(world.sources.size());
    for (const Step& step : run(made(world), 40)) {
      for (uint32_t source = 0; source < world.sources.size(); ++source) {
        const MixtureSource& of = world.sources[source];
        for (const auto& at : of_source(step.rows, source)) {
          auto& [epoch, position] = next[source];
          if (of.at_end == SourceEnd::kRepeat && position == of.samples) {
            ++epoch;
            position = 0;
          }
          if (of.at_end == SourceEnd::kEnd && at.first > epoch) {
            ++epoch;
            EXPECT_GT(position + world.batch, of.samples);  // it lacked some
            position = 0;
          }
          EXPECT_EQ(at, std::make_pair(epoch, position)) << "source=" << source;
          ++position;
        }
      }
    }
  }
}

TEST(MixtureWorlds, BatchesLeftAreThoseThatCome) {
  for (const MixtureSpec& world : worlds()) {
    MixtureSchedule schedule = made(world);
    for (int epoch = 0; epoch < 6; ++epoch) {
      uint64_t left = schedule.batches_left_in_epoch();
      Step step;
      while (schedule.next(step.rows, step.after)) {
        --left;
        if (step.after.epoch == schedule.point().epoch && step.after.position > 0) {
          EXPECT_EQ(schedule.batches_left_in_epoch(), left);
        }
      }
      EXPECT_EQ(left, 0u);
      schedule.next_epoch();
    }
  }
}

// The mixture's epoch that a batch belongs to: after the last one of an epoch stands the next.
uint64_t epoch_of(const Step& step) {
  return step.after.epoch - (step.after.position == 0 ? 1 : 0);
}

// Whether batch `later` comes before any event, seen from before batch s.
bool undisturbed(const MixtureSpec& spec, const std::vector<Step>& all, size_t s, size_t later) {
  for (const WeightChange& change : spec.changes) {
    if (change.step > s && change.step <= later) return false;
  }
  return all[later].after.weights == all[s].after.weights &&
         epoch_of(all[later]) == epoch_of(all[s]);
}

// What rank_of says is what comes, and it knows all that comes before an event.
TEST(MixtureWorlds, RankOfAgreesWithTheBatchesOfAllRanks) {
  uint64_t known = 0, asked = 0, settled = 0;
  for (const MixtureSpec& world : worlds()) {
    const auto all = run(made(world), 16);
    for (const uint32_t ranks : {1, 2, 3, 4, 6}) {
      if (world.batch % ranks != 0) continue;
      MixtureSpec spec = world;
      spec.world = ranks;
      MixtureSchedule schedule = made(spec);  // rank 0 asks
      for (size_t s = 0; s < all.size(); ++s) {
        Step step;
        if (MixtureSchedule probe = schedule; !probe.next(step.rows, step.after)) {
          schedule.next_epoch();
        }
        const Row& first = all[s].rows[0];
        const bool ready = schedule.rank_of(first.source, first.epoch, first.position).has_value();
        ++asked;
        settled += ready ? 1 : 0;
        for (size_t later = s; later < all.size(); ++later) {
          for (size_t i = 0; i < all[later].rows.size(); ++i) {
            const Row& row = all[later].rows[i];
            const auto rank = schedule.rank_of(row.source, row.epoch, row.position);
            EXPECT_EQ(rank.has_value(), ready && undisturbed(world, all, s, later));
            EXPECT_EQ(rank.value_or(i % ranks), i % ranks);
            known += rank ? 1 : 0;
          }
        }
        EXPECT_TRUE(schedule.next(step.rows, step.after));
        for (const Row& row : step.rows) {  // delivered
          EXPECT_EQ(schedule.rank_of(row.source, row.epoch, row.position), std::nullopt);
        }
      }
    }
  }
  EXPECT_GT(known, 100'000u);
  EXPECT_GT(settled, asked / 10 * 8);  // it does not know when an event stands right before it
}

}  // namespace
}  // namespace headrace
