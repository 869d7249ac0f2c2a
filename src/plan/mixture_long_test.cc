// SPDX-License-Identifier: Apache-2.0
//
// A mixture of five sources over 1,000 batches, as a job would run it: how far the counts are from
// the weights after every batch, and a change of weights with a resume on another rank count.
#include <gtest/gtest.h>

#include <cmath>

#include "plan/mixture_state.h"

namespace headrace {
namespace {

using Numbers = std::vector<uint64_t>;
const std::vector<double> kFive = {0.5, 0.3, 0.15, 0.04, 0.01}, kOther = {0.1, 0.1, 0.2, 0.2, 0.4};
constexpr uint64_t kBatch = 256, kChanged = 500, kResumed = 700, kSteps = 1000;

MixtureSpec five(uint64_t group, uint32_t rank, uint32_t world) {
  MixtureSpec spec{.seed = 7, .group = group, .batch = kBatch, .rank = rank, .world = world};
  for (const uint64_t samples : {100'000, 70'000, 30'000, 9'000, 2'000}) {
    spec.sources.push_back({"s" + std::to_string(spec.sources.size()), samples});
  }
  spec.changes = {{0, *mixture_weights(kFive)}, {kChanged, *mixture_weights(kOther)}};
  return spec;
}

MixtureSchedule made(const MixtureSpec& spec, MixturePoint start) {
  auto schedule = MixtureSchedule::make(spec, std::move(start));
  EXPECT_TRUE(schedule.ok()) << schedule.status().message();
  return *schedule;
}

// One step of every rank: the global batch by row number, and the state.
std::vector<Row> step(std::vector<MixtureSchedule>& ranks, MixturePoint& after) {
  std::vector<Row> global(kBatch), rows;
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    while (!ranks[rank].next(rows, after)) ranks[rank].next_epoch();
    for (size_t i = 0; i < rows.size(); ++i) global[i * ranks.size() + rank] = rows[i];
  }
  return global;
}

std::vector<MixtureSchedule> all_ranks(uint64_t group, uint32_t world, const MixturePoint& start) {
  std::vector<MixtureSchedule> ranks;
  for (uint32_t rank = 0; rank < world; ++rank) {
    ranks.push_back(made(five(group, rank, world), start));
  }
  return ranks;
}

// Of any source, in units of g samples.
double worst_deviation(uint64_t group) {
  auto ranks = all_ranks(group, 1, {});
  Numbers counts(5);
  double worst = 0, begun = 0;
  for (uint64_t s = 0; s < kSteps; ++s) {
    if (s == kChanged) {
      counts.assign(5, 0);
      begun = static_cast<double>(s);
    }
    MixturePoint after;
    for (const Row& row : step(ranks, after)) ++counts[row.source];
    const double delivered = (static_cast<double>(s + 1) - begun) * kBatch;
    for (size_t i = 0; i < 5; ++i) {
      const double wanted = (s < kChanged ? kFive : kOther)[i] * delivered;
      const double off = std::abs(static_cast<double>(counts[i]) - wanted);
      worst = std::max(worst, off / static_cast<double>(group));
    }
  }
  return worst;
}

TEST(MixtureLong, CountsFollowTheWeightsAfterEveryBatch) {
  for (const uint64_t group : {1, 8}) {
    const double worst = worst_deviation(group);
    EXPECT_LE(worst, 1.7);
    std::printf("5 sources, 1,000 batches of 256, g = %d: worst deviation %.3f units\n",
                static_cast<int>(group), worst);
  }
}

TEST(MixtureLong, ChangedAt500AndResumedAt700OnOtherRanksIsTheSameSequence) {
  for (const uint64_t group : {1, 8}) {
    auto whole = all_ranks(group, 8, {}), cut = all_ranks(group, 8, {});
    MixturePoint after, other;
    for (uint64_t s = 0; s < kSteps; ++s) {
      if (s == kResumed) {
        MixtureState state{.seed = 7,
                           .epoch = other.epoch,
                           .position = other.position,
                           .group = group,
                           .units = other.units,
                           .steps = other.steps};
        for (size_t i = 0; i < 5; ++i) {
          state.sources.push_back({.name = "s" + std::to_string(i),
                                   .block = 1,
                                   .lanes = 1,
                                   .epoch = other.sources[i].epoch,
                                   .position = other.sources[i].position,
                                   .weight = other.weights[i]});
        }
        const std::string text = *encode_mixture_state(state);
        cut = all_ranks(group, 4, parse_mixture_state(text)->point());
      }
      ASSERT_EQ(step(whole, after), step(cut, other)) << "step " << s;
      ASSERT_EQ(after, other);
      EXPECT_EQ(after.units, (s < kChanged ? s + 1 : s + 1 - kChanged) * kBatch / group);
    }
  }
}

}  // namespace
}  // namespace headrace
