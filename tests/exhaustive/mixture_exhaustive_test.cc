// SPDX-License-Identifier: Apache-2.0
//
// Mixtures of up to 3 small sources under every combination of what happens at their ends, weights
// that change, group sizes and rank counts: in order, exactly once, and from every cut on the same.
#include <gtest/gtest.h>

#include <algorithm>

#include "plan/mixture.h"
#include "worlds.h"

namespace headrace::exhaustive {
namespace {

using Numbers = std::vector<uint64_t>;
constexpr size_t kSteps = 14;

struct Step {
  std::vector<Row> rows;
  MixturePoint after;
  friend bool operator==(const Step&, const Step&) = default;
};

std::vector<Step> run(const MixtureSpec& spec, MixturePoint start, size_t steps) {
  auto schedule = MixtureSchedule::make(spec, std::move(start));
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
  return found;
}

// Each source's samples come in order of its running count, none twice, none left out but what an
// epoch's end leaves (stop, end: fewer than a batch).
void check_sources(const MixtureSpec& spec, const std::vector<Step>& steps) {
  Numbers next(spec.sources.size());
  for (const Step& step : steps) {
    std::vector<Numbers> found(spec.sources.size());
    for (const Row& row : step.rows) {
      ASSERT_LT(row.position, spec.sources[row.source].samples);
      found[row.source].push_back(row.epoch * spec.sources[row.source].samples + row.position);
    }
    for (uint32_t source = 0; source < found.size(); ++source) {
      const MixtureSource& of = spec.sources[source];
      std::sort(found[source].begin(), found[source].end());
      ASSERT_EQ(found[source].size() % spec.group, 0u);
      for (const uint64_t running : found[source]) {
        if (running != next[source]) {
          ASSERT_EQ(of.at_end, SourceEnd::kEnd);
          ASSERT_EQ(running % of.samples, 0u);
          ASSERT_LT(running - next[source], spec.batch);
        }
        ASSERT_TRUE(of.at_end != SourceEnd::kStop || running < of.samples);
        next[source] = running + 1;
      }
    }
  }
}

void check_world(const MixtureSpec& one, Tally& tally) {
  const auto whole = run(one, {}, kSteps);
  check_sources(one, whole);
  for (uint32_t ranks = 1; ranks <= kRanksMax; ++ranks) {
    if (one.batch % ranks != 0) continue;
    for (uint32_t rank = 0; rank < ranks; ++rank) {
      MixtureSpec spec = one;
      spec.rank = rank;
      spec.world = ranks;
      const auto mine = run(spec, {}, kSteps);
      ASSERT_EQ(mine.size(), whole.size());
      for (size_t s = 0; s < mine.size(); ++s) {
        ASSERT_EQ(mine[s].after, whole[s].after);
        ASSERT_EQ(mine[s].rows.size(), one.batch / ranks);
        for (size_t i = 0; i < mine[s].rows.size(); ++i) {
          ASSERT_EQ(mine[s].rows[i], whole[s].rows[i * ranks + rank]);
        }
      }
      for (size_t cut = rank; cut < mine.size(); cut += ranks) {
        const auto rest = run(spec, mine[cut].after, mine.size() - cut - 1);
        ASSERT_TRUE(std::equal(rest.begin(), rest.end(),
                               mine.begin() + static_cast<ptrdiff_t>(cut) + 1, mine.end()))
            << "seed " << one.seed << " cut " << cut;
        tally.add((mine.size() - cut) * one.batch / ranks);
      }
    }
  }
}

// World number i of sources x ends x sizes x weights x group x batch x changes.
bool world_of(uint64_t i, MixtureSpec& spec) {
  const auto take = [&i](uint64_t choices) {
    const uint64_t choice = i % choices;
    i /= choices;
    return choice;
  };
  constexpr uint64_t kWeights[] = {1, 3, 0};
  spec = {};
  spec.seed = i;
  spec.group = 1 + take(2);
  spec.batch = spec.group * (1 + take(4));
  const uint64_t sources = 1 + take(3), changes = take(3);
  for (uint64_t step : {uint64_t{0}, uint64_t{3}, uint64_t{4}}) {
    if (step == 0 || step - 2 <= changes) spec.changes.push_back({step, {}});
  }
  for (uint64_t k = 0; k < sources; ++k) {
    const auto at_end = static_cast<SourceEnd>(take(3));
    const uint64_t least = at_end == SourceEnd::kRepeat ? 1 : spec.batch;
    spec.sources.push_back({std::string(1, static_cast<char>('a' + k)), least + take(6), at_end});
    for (WeightChange& change : spec.changes) change.weights.push_back(kWeights[take(3)]);
  }
  spec.epoch_samples = spec.batch * (1 + take(5)) + take(2);
  for (const WeightChange& change : spec.changes) {
    if (std::count(change.weights.begin(), change.weights.end(), 0u) ==
        static_cast<ptrdiff_t>(sources)) {
      return false;
    }
  }
  return true;
}

TEST(ExhaustiveMixture, EveryEndWeightGroupAndCut) {
  Tally tally("mixtures of 1..3 sources, worlds by lot, rank counts 1..8, all cuts");
  OrderStream random(6);
  uint64_t worlds = 0;
  const uint64_t wanted = full() ? 800'000 : 30'000;
  for (MixtureSpec spec; worlds < wanted && !HasFailure();) {
    if (!world_of(random.draw(), spec)) continue;
    check_world(spec, tally);
    ++worlds;
  }
}

}  // namespace
}  // namespace headrace::exhaustive
