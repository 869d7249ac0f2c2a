// SPDX-License-Identifier: Apache-2.0
//
// A fleet: eight processes for half an hour of virtual time on one store that is everything a store can be: slow, with
// tails, capped, away for a while, with answers that stall, break off, come with a flipped bit. Each has the real engine,
// hedges, retries and admission. What must hold: every batch is the plan's, byte for byte; every read is answered once;
// no budget is exceeded and all memory comes back; nobody stands still; few second readings and few retries.
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

struct FleetSpec {
  uint32_t clients = 8;
  Nanos span{std::chrono::minutes(30)};
  bool loses_answers = false;  // broken on purpose: an answer in 200 never comes
  bool answers_twice = false;  // ... comes twice
};

FleetOutcome run_fleet(uint64_t seed, const FleetSpec& spec = {});

}  // namespace headrace::sim
