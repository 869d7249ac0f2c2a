// SPDX-License-Identifier: Apache-2.0
//
// One process of a simulated job during one pass, a rank or one of its workers: an engine with its store, memory and workers, and the part of the loader
// behind it (loader/assembly_line.h) played by a model of it: a batch needs a slot of memory and some time to be
// assembled, finished ones wait until the trainer takes them. Every row is compared with the data byte by byte, when it
// arrives and again when it is let go.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "data_set.h"
#include "event_loop.h"
#include "fetch/engine.h"
#include "model_job.h"
#include "network.h"
#include "sabotage.h"
#include "store/fault_store.h"
#include "world.h"

namespace headrace::sim {

using DataSets = std::vector<std::shared_ptr<DataSet>>;
using Fail = std::function<void(const std::string&)>;

// Exact memory: a heap block a buffer, filled with rubbish when taken and when given back.
class Memory final : public BufferSource {
 public:
  Memory(std::shared_ptr<Budget> budget, uint64_t round_to, bool leaks)
      : budget_(std::move(budget)), round_to_(round_to), leaks_(leaks) {}
  Buffer take(uint64_t size) override;
  uint64_t charge(uint64_t size) const override { return (size + round_to_ - 1) / round_to_ * round_to_; }
  uint64_t bytes_live() const { return bytes_live_; }
  uint64_t bytes_peak() const { return bytes_peak_; }

 protected:
  void give_back(const Buffer& buffer) override;
  bool release_charge(const Buffer& buffer) override;

 private:
  const std::shared_ptr<Budget> budget_;
  const uint64_t round_to_;
  bool leaks_;
  uint64_t bytes_live_ = 0, bytes_peak_ = 0;
};

struct ProcessSpec {
  const World& world;
  const LifeWorld& life;
  const DataSets& data;
  Network& network;
  Timeline& timeline;
  BatchPlanSpec plan;
  Draw draw;
  std::string name;  // "rank 3"
  Fail fail;
  Sabotage sabotage = Sabotage::kNone;
};

class Process final : public FetchSink, public std::enable_shared_from_this<Process> {
 public:
  explicit Process(ProcessSpec spec);
  ~Process() override;
  void start();
  void kill();  // nothing of it runs any more; then memory is counted

  struct Batch {
    std::vector<model::Row> rows;
    PlanPoint after;
  };
  bool has_batch() const { return !finished_.empty(); }
  Batch take();
  bool ended() const { return ended_; }
  bool consumed() const { return ended_ && !dead_ && queue_.empty() && finished_.empty(); }
  const Status& status() const { return status_; }
  uint64_t reads() const;
  uint64_t bytes_read() const;
  uint64_t faults() const { return faults_ ? faults_->struck() : 0; }
  bool memory_is_ample() const { return ample_; }
  std::string text() const;

  void on_batch(FetchedBatch batch) override;
  void on_end(Status status) override;

 private:
  struct Work {
    Batch batch;
    FetchedBatch fetched;
    Buffer slot;
  };
  std::shared_ptr<ObjectStore> make_store(const DataSet& data);
  void size_memory();
  void check_bytes(const FetchedBatch& batch, const char* when);
  void assemble();
  void assembled();
  void wait_for_memory();
  void visit_neighbour();
  void sabotage_batch(Work& work);

  const ProcessSpec spec_;
  Draw draw_;
  ProcessExecutor executor_;
  ProcessWorkers workers_;
  std::shared_ptr<Budget> budget_;
  std::shared_ptr<Memory> memory_;
  std::shared_ptr<FaultStore> faults_;
  std::vector<std::shared_ptr<FirstStop>> stores_;
  std::shared_ptr<FetchEngine> engine_;
  FetchOptions options_;
  uint64_t listener_ = 0, slot_bytes_ = 0, need_ = 0, neighbour_holds_ = 0;
  bool ample_ = false;
  bool closing_ = false, dead_ = false, ended_ = false, assembling_ = false, waiting_ = false;
  Status status_;
  uint64_t batches_ = 0;
  std::deque<Work> queue_, finished_;
};

}  // namespace headrace::sim
