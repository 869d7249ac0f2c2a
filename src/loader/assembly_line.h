// SPDX-License-Identifier: Apache-2.0
//
// AssemblyLine: takes fetched batches from the engine, has them assembled on the workers one after another, and holds
// the finished ones in order until the consumer comes. The engine is told when memory is short.
//
// Threads: on_batch/on_end on the engine's executor; the rest from any.
#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "batch/assembler.h"
#include "fetch/fetcher.h"
#include "sys/budget.h"
#include "sys/executor.h"

namespace headrace {

class AssemblyLine final : public FetchSink, public std::enable_shared_from_this<AssemblyLine> {
 public:
  struct Finished {
    std::shared_ptr<BatchData> batch;
    PlanPoint after;
    std::vector<SkippedRow> skipped;
    uint64_t stored_bytes = 0;  // of its samples
  };
  // What the consumer waits for.
  enum class Stage { kFetching, kAssembling, kMemory };

  // What a row's source (FetchedRow::source) is.
  struct Source {
    std::shared_ptr<const DatasetIndex> index;
    uint64_t seed = 0;  // of its order: random decoding follows it
  };
  AssemblyLine(std::shared_ptr<BatchAssembler> assembler, std::vector<Source> sources, std::shared_ptr<Budget> budget,
               Executor& workers, TimedExecutor& timers);

  // The engine that feeds the line (held weakly) and what it thinks a slot takes, and the budget's releases. Once,
  // before the engine starts.
  void attach(const std::shared_ptr<Fetcher>& engine, uint64_t slot_bytes);

  void on_batch(FetchedBatch batch) override;
  void on_end(Status status) override;

  // Waits up to `wait`. Nothing and ok: not there yet; `over` says that nothing more comes.
  struct Taken {
    std::optional<Finished> batch;
    bool over = false;
    Status status;  // why it is over
  };
  Taken take(Nanos wait);
  Stage stage() const;

  // Drops what is queued and finished; returns when nothing of the line runs.
  void close();

 private:
  struct Job;
  void start_next_locked();
  void advance(std::shared_ptr<Job> job);
  void on_state(const std::shared_ptr<Job>& job, Assembly::State state);
  void on_release();
  void tell_slot(const BatchData& batch);
  void ask_for_memory(const std::shared_ptr<Job>& job);
  BatchRequest request_of(const std::shared_ptr<FetchedBatch>& batch) const;

  const std::shared_ptr<BatchAssembler> assembler_;
  const std::vector<Source> sources_;
  const std::shared_ptr<Budget> budget_;
  Executor& workers_;
  TimedExecutor& timers_;
  std::weak_ptr<Fetcher> engine_;
  uint64_t slot_bytes_ = 0;  // of a batch whose columns are all joined
  bool loose_ = false;       // the last batch had loose rows: one thread at a time, as on_state()
  uint64_t listener_ = 0;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<FetchedBatch>> queue_;
  std::shared_ptr<Job> current_;
  bool running_ = false;  // a thread is inside current_'s advance()
  bool waiting_ = false;  // current_ waits for memory
  bool released_ = false; // memory was released while it ran
  std::deque<Finished> finished_;
  bool closed_ = false;
  bool fetch_over_ = false;
  Status failure_;
};

}  // namespace headrace
