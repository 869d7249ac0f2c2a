// SPDX-License-Identifier: Apache-2.0
//
// A fleet: eight processes for half an hour of virtual time on one store that is everything a store can be: slow, with
// tails, capped, away for a while, with answers that stall, break off, come with a flipped bit. Each has the real
// engine, hedges, retries and admission. What must hold: every batch is the plan's, byte for byte; every read is
// answered once; no budget is exceeded and all memory comes back; nobody stands still, and nobody spins; few second
// readings; few requests that are refused, of a store that is away or that bears only so many.
//
// Whole jobs with kills, resumes and mixtures are simulation.h's.
#pragma once

#include <cstdint>
#include <string>

#include "sys/clock.h"

namespace headrace::sim {

struct FleetOutcome {
  std::string failure;  // empty: all as it should be
  uint64_t batches = 0, reads = 0, attempts = 0, refused = 0, broken = 0, hedges = 0, hedges_won = 0, events = 0;
  Nanos virtual_time{};
};

// Broken on purpose: each must be found (fleet_test.cc).
enum class FleetSabotage {
  kNone,
  kLostAnswer,     // an answer in 200 never comes
  kSecondAnswer,   // ... comes, and then the loser of two readings, too
  kNoAdmission,    // everybody asks as often as he likes
  kOverBudget,     // twice the memory that was allowed
  kLeak,           // a buffer is never given back
  kNoChecksums,    // bytes are not verified
  kSpin,           // somebody posts the same task for ever
};

struct FleetSpec {
  uint32_t clients = 8;
  Nanos span{std::chrono::minutes(30)};
  FleetSabotage sabotage = FleetSabotage::kNone;
  bool trace = false;  // prints the weather, and how each client stands every ten seconds
};

struct FleetSabotageName {
  FleetSabotage sabotage;
  const char* name;
};
inline constexpr FleetSabotageName kFleetSabotages[] = {
    {FleetSabotage::kLostAnswer, "lost-answer"}, {FleetSabotage::kSecondAnswer, "second-answer"},
    {FleetSabotage::kNoAdmission, "no-admission"}, {FleetSabotage::kOverBudget, "over-budget"},
    {FleetSabotage::kLeak, "leak"}, {FleetSabotage::kNoChecksums, "no-checksums"}, {FleetSabotage::kSpin, "spin"},
};

FleetOutcome run_fleet(uint64_t seed, const FleetSpec& spec = {});

}  // namespace headrace::sim
