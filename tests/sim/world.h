// SPDX-License-Identifier: Apache-2.0
//
// What a seed stands for: the data, the job over it, and the lives that the job has (each with its own ranks, batch
// size, memory, weather and end). Small on purpose: tens to hundreds of samples meet every edge that millions do.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data_set.h"
#include "draw.h"
#include "fetch/engine.h"
#include "model_job.h"
#include "network.h"
#include "store/fault_store.h"
#include "store/throttle_store.h"

namespace headrace::sim {

struct SourceWorld {
  std::string name;
  DataSpec data;
  uint64_t data_seed = 0;
  model::Source order;
};

struct World {
  uint64_t seed = 0;
  std::vector<SourceWorld> sources;
  std::string remainder = "drop";
  uint64_t epochs = 1;  // epoch ends until the job is done
  uint64_t lives_max = 1;
  // Of a mixture.
  bool mixture = false;
  uint64_t group = 1, epoch_samples = 0;
  std::vector<std::string> at_end;
  std::map<uint64_t, std::vector<uint64_t>> changes;

  static World draw(uint64_t seed);
  std::string text() const;
  model::Job job() const;  // as the model sees it
};

// How a life ends, when it does not run to the job's end.
enum class End {
  kFinish,
  kKill,      // all ranks at once, between any two events
  kKillRank,  // one rank; the others go on until they wait for it
  kBreak,     // the trainers stop behind a batch, with its state
  kError,     // the store refuses for good on one rank
  kReplaced,  // a shard is overwritten
  kHang,      // an answer never comes; somebody ends the job
};

struct LifeWorld {
  uint64_t number = 0;
  uint32_t ranks = 1;
  uint64_t batch = 1;            // of a rank
  uint32_t workers = 1;          // processes of a rank that make its batches in turn
  uint64_t epochs_per_pass = 1;  // epoch ends that prefetch may cross, and one more
  uint64_t save_every = 1;       // steps
  bool lock_step = true;         // no rank takes a batch before all have theirs
  End end = End::kFinish;
  uint64_t end_step = 0;         // counted in this life; then ...
  uint64_t end_events = 0;       // ... so many events more
  uint32_t end_rank = 0;

  uint32_t window = 2;
  double memory_factor = 1;      // of what one batch needs
  double slot_share = 1;         // bytes of a decoded batch, of the stored ones
  bool release_by_assembly = true;
  bool neighbour = false;        // somebody else wants memory now and then
  FetchOptions fetch;
  uint64_t round_to = 1;         // buffers are charged in multiples of it
  Nanos decode_longest{}, step_longest{}, worker_longest{};

  NetworkSpec network;
  ThrottleProfile latency;
  std::vector<StoreFault> faults;  // of every rank
  bool is_clean() const { return faults.empty() && end == End::kFinish && network.requests_per_s == 0 && !neighbour; }

  static LifeWorld draw(Draw draw, const World& world, const model::Job& job, const model::Point& at,
                        uint64_t number);
  std::string text() const;
};

}  // namespace headrace::sim
