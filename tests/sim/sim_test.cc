// SPDX-License-Identifier: Apache-2.0
//
// The simulation over many seeds; that it finds what is broken on purpose; that a seed is all there is to a run; and that
// its model is the specification's (golden values of docs/ordering.md). More seeds: `make sim`.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <mutex>
#include <thread>

#include "simulation.h"

namespace headrace::sim {
namespace {

uint64_t seeds_to_run() {
  const char* given = std::getenv("HEADRACE_SIM_SEEDS");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : 2000;
}

TEST(Simulation, DeliversWhatTheModelSaysWhateverHappens) {
  const uint64_t seeds = seeds_to_run();
  std::atomic<uint64_t> next{0}, kills{0}, faults{0}, clean{0};
  std::mutex mutex;
  std::string failures;
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < std::clamp(std::thread::hardware_concurrency(), 1u, 8u); ++t) {
    threads.emplace_back([&] {
      for (uint64_t seed; (seed = next++) < seeds;) {
        const Outcome outcome = Simulation(seed).run();
        kills += outcome.lives - 1;
        faults += outcome.faults;
        clean += outcome.clean_passes;
        if (outcome.ok()) continue;
        std::lock_guard lock(mutex);
        failures += "headrace_sim --seed " + std::to_string(seed) + " --trace: " + outcome.failure + "\n";
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, "");
  // The worlds are what they are meant to be: most of all not calm.
  EXPECT_GT(kills, seeds / 4);
  EXPECT_GT(faults, seeds / 4);
  EXPECT_GT(clean, seeds / 100);
}

TEST(Simulation, IsAFunctionOfItsSeed) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const Outcome a = Simulation(seed).run(), b = Simulation(seed).run();
    EXPECT_EQ(std::tie(a.lives, a.passes, a.steps, a.rows, a.events, a.reads, a.faults, a.virtual_time),
              std::tie(b.lives, b.passes, b.steps, b.rows, b.events, b.reads, b.faults, b.virtual_time));
  }
}

class Sabotaged : public testing::TestWithParam<SabotageName> {};

TEST_P(Sabotaged, IsFoundWithin1000Seeds) {
  uint64_t seed = 0;
  std::string found;
  for (; seed < 1000 && found.empty(); ++seed) found = Simulation(seed, GetParam().sabotage).run().failure;
  EXPECT_NE(found, "");
  RecordProperty("seeds", static_cast<int>(seed));
  std::printf("  %s: found by seed %d: %.200s\n", GetParam().name, static_cast<int>(seed) - 1, found.c_str());
}

INSTANTIATE_TEST_SUITE_P(All, Sabotaged, testing::ValuesIn(kSabotages), [](const auto& test) {
  std::string name = test.param.name;
  for (char& c : name) c = c == '-' ? '_' : c;
  return name;
});

// docs/ordering.md, "Golden orders", "Golden values", "Mixtures".
TEST(ReferenceModel, IsTheSpecificationsGoldenValues) {
  EXPECT_EQ(model::mix64(1), 0x5692161d100b05e5u);
  EXPECT_EQ(model::key(1, 2, 3, 4), 0x336c3255cbcc01feu);
  EXPECT_EQ(model::shuffled(10, model::key(0, 0, 1, 0)), (std::vector<uint64_t>{3, 5, 4, 1, 6, 0, 2, 8, 7, 9}));
  EXPECT_EQ(model::order({{10, 7, 0, 12, 3}, 5, 4, 6, "stratified"}, 1),
            (std::vector<uint64_t>{19, 14, 2,  22, 10, 27, 18, 8,  3,  21, 11, 26, 17, 15, 0, 24,
                                   12, 25, 20, 9,  1,  23, 13, 28, 6,  4,  16, 30, 7,  5,  29, 31}));
  EXPECT_EQ(model::order({{10, 7, 0, 12, 3}, 5, 4, 6, "block"}, 1),
            (std::vector<uint64_t>{31, 12, 22, 1,  27, 5,  30, 13, 24, 2, 26, 7,  16, 11, 21, 3,
                                   25, 6,  29, 10, 23, 0,  28, 4,  8,  14, 20, 18, 9,  15, 19, 17}));
  const std::vector<uint64_t> weights = {2147483648, 1288490189, 644245094, 171798692, 42949673};
  const std::vector<uint32_t> sources = {0, 1, 0, 2, 0, 1, 0, 3, 0, 1, 0, 1, 0, 2, 0, 1, 0, 2, 0, 1};
  for (size_t u = 0; u < sources.size(); ++u) {
    std::vector<uint64_t> grown = model::unit_counts(weights, u);
    ++grown[sources[u]];
    EXPECT_EQ(model::unit_counts(weights, u + 1), grown) << u;
  }
}

}  // namespace
}  // namespace headrace::sim
