// SPDX-License-Identifier: Apache-2.0
//
// The fleet over a few seeds, and that it finds what is broken on purpose. More seeds: `make sim`.
#include "fleet.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace headrace::sim {
namespace {

TEST(Fleet, EveryBatchComesWhateverTheStoreDoes) {
  const char* given = std::getenv("HEADRACE_FLEET_SEEDS");
  const uint64_t seeds = given != nullptr ? std::strtoull(given, nullptr, 10) : 40;
  FleetOutcome sum;
  for (uint64_t seed = 0; seed < seeds; ++seed) {
    const FleetOutcome out = run_fleet(seed);
    EXPECT_EQ(out.failure, "") << "headrace_sim --fleet --seed " << seed;
    EXPECT_GE(out.virtual_time, std::chrono::minutes(30));
    sum.batches += out.batches;
    sum.refused += out.refused;
    sum.broken += out.broken;
    sum.hedges_won += out.hedges_won;
  }
  // It is not calm weather.
  EXPECT_GT(sum.batches, seeds * 100);
  EXPECT_GT(sum.refused, seeds * 10);
  EXPECT_GT(sum.broken, seeds * 10);
  EXPECT_GT(sum.hedges_won, seeds);
}

TEST(Fleet, IsAFunctionOfItsSeed) {
  const FleetSpec spec{.clients = 4, .span = std::chrono::minutes(5)};
  for (uint64_t seed = 0; seed < 3; ++seed) {
    const FleetOutcome a = run_fleet(seed, spec), b = run_fleet(seed, spec);
    EXPECT_EQ(a.events, b.events);
    EXPECT_EQ(a.attempts, b.attempts);
    EXPECT_EQ(a.hedges, b.hedges);
  }
}

TEST(Fleet, FindsWhatIsBrokenOnPurpose) {
  for (const FleetSabotageName& one : kFleetSabotages) {
    std::string found;
    for (uint64_t seed = 0; seed < 10 && found.empty(); ++seed) {
      found = run_fleet(seed, {.span = std::chrono::minutes(10), .sabotage = one.sabotage}).failure;
    }
    EXPECT_NE(found, "") << one.name;
  }
}

}  // namespace
}  // namespace headrace::sim
