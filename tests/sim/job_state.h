// SPDX-License-Identifier: Apache-2.0
//
// The state of a simulated job as a user keeps it: text, written by the project's own encoder and read by its parser.
#pragma once

#include <string>

#include "data_set.h"
#include "fetch/batch_plan.h"
#include "model_job.h"
#include "world.h"

namespace headrace::sim {

// What a run takes from a state.
struct LoadedState {
  Position at;             // of one source
  MixturePoint mixture;    // of several; {}: from the start
  model::Point point;      // the same numbers
};

class JobStates {
 public:
  // `in_use`: block and lanes of the one source, as the order uses them.
  JobStates(const World& world, const DataSet& first, uint64_t block, uint64_t lanes);

  std::string text(const PlanPoint& after) const;
  Result<LoadedState> parse(const std::string& text) const;
  uint64_t block() const { return block_; }
  uint64_t lanes() const { return lanes_; }

 private:
  const World& world_;
  const std::string order_hash_, filter_;
  uint64_t block_, lanes_;
};

// The numbers of a state, to be compared with the model's.
model::Point point_of(const PlanPoint& after);

}  // namespace headrace::sim
