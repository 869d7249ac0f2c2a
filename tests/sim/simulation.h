// SPDX-License-Identifier: Apache-2.0
//
// A whole job in virtual time: lives, passes, ranks, states. What the ranks are handed is compared batch by batch with
// the reference model (model_job.h), and so is every state; the job's end is compared with what an epoch is.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "job_state.h"
#include "process.h"
#include "sabotage.h"
#include "world.h"

namespace headrace::sim {

struct Outcome {
  std::string failure;  // empty: all as it should be
  uint64_t lives = 0, passes = 0, steps = 0, rows = 0, events = 0, reads = 0, faults = 0, clean_passes = 0;
  Nanos virtual_time{};
  bool ok() const { return failure.empty(); }
};

class Simulation {
 public:
  explicit Simulation(uint64_t seed, Sabotage sabotage = Sabotage::kNone, bool trace = false);
  Outcome run();

 private:
  enum class Ended { kDone, kCutShort, kFailed };  // of a pass, by the way it ended
  using Processes = std::vector<std::shared_ptr<Process>>;
  struct Step {
    std::vector<std::vector<model::Row>> rows;  // by rank
    model::Point before, after;
  };
  // One pass of all ranks: what should come, what came, and what is saved.
  struct Run {
    LifeWorld life;
    LoadedState start;
    std::unique_ptr<model::Pass> model;
    bool model_over = false;
    std::vector<Step> steps;  // of the model, as far as they were looked at
    Processes processes;  // those of rank 0, of rank 1, ...
    std::vector<std::vector<Process::Batch>> taken;  // by rank
    std::vector<TimePoint> rank_step_at;             // of ranks that go at their own pace
    uint64_t steps_done = 0;   // on all ranks
    uint64_t steps_saved = 0;
    TimePoint next_step_at{};
    TimePoint last_progress{};
    uint64_t events = 0;
    int64_t end_at = -1;  // event at which the life ends; -1: not yet known
    bool struck = false;  // a rank is dead
  };

  void fail(const std::string& what);
  void note(const std::string& what) const;
  void build_sources();
  bool live(uint64_t number);
  bool job_is_done(const LoadedState& at) const;
  BatchPlanSpec plan_of(Run& run, uint32_t rank, uint64_t epochs);
  void sabotage_start(LoadedState& start) const;
  Ended run_pass(Run& run);
  bool start_pass(Run& run);
  Ended turn(Run& run);
  bool all_consumed(const Run& run) const;
  Process& next_of(const Run& run, uint32_t rank) const;
  bool has_batch(const Run& run, uint32_t rank) const;
  void take_steps(Run& run);
  void take(Run& run, uint32_t rank);
  const Step* step(Run& run, uint64_t number);
  void save(Run& run, uint64_t step);
  bool strike(Run& run);
  void replace_shard();
  bool may_fail(const Run& run, Code code) const;
  Ended stuck(const Run& run);
  void end_pass(Run& run, Ended ended);
  bool traffic_is_known(const Run& run) const;
  void check_traffic(const Run& run);
  void check_requests(const Run& run, uint64_t reads);
  void check_epochs();

  const uint64_t seed_;
  const Sabotage sabotage_;
  const bool trace_;
  World world_;
  model::Job job_;
  DataSets data_;
  std::vector<SourceSpec> sources_;
  std::unique_ptr<JobStates> states_;
  std::unique_ptr<Network> network_;  // of this life
  bool replaced_ = false;             // a shard, in this life
  Timeline timeline_;
  ProcessExecutor driver_{timeline_};
  Draw life_draw_;

  std::string state_;        // on disk
  std::string state_before_;
  LoadedState at_;           // of state_
  model::Point expected_at_;  // the model's
  std::map<std::pair<uint32_t, uint64_t>, std::vector<uint32_t>> delivered_;  // source, epoch -> times, by position
  uint64_t batch_max_ = 0;
  Outcome outcome_;
};

}  // namespace headrace::sim
