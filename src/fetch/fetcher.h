// SPDX-License-Identifier: Apache-2.0
//
// Fetcher: what brings the samples of a pass, batch by batch, in order: FetchEngine by index, StreamEngine by reading
// shards from front to back. Whoever consumes them (FetchSink) sees no difference.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "fetch/batch_plan.h"
#include "fetch/piece.h"
#include "fetch/unit_source.h"
#include "format/dataset_index.h"
#include "plan/shard_counts.h"
#include "store/object_store.h"
#include "sys/budget.h"
#include "sys/buffer_source.h"
#include "sys/executor.h"
#include "sys/metrics.h"

namespace headrace {

class ShardFormat;

// One row of a batch. The piece with its sample is held by the batch.
struct FetchedRow {
  Piece* piece = nullptr;
  uint64_t row = 0;     // in piece->view, or for piece->make_sample()
  uint64_t sample = 0;  // sample number
  uint64_t epoch = 0;
  uint64_t position = 0;
  bool valid = true;
  uint32_t source = 0;
};

struct FetchedBatch {
  uint64_t number = 0;  // from 0 in this pass
  // Of rows whose pieces make their samples late: made by whoever assembles the batch.
  std::shared_ptr<SampleBatchView> late_samples;
  std::shared_ptr<BudgetShare> late_share;  // what making them took
  std::vector<FetchedRow> rows;
  std::vector<std::shared_ptr<Piece>> pieces;  // of the rows, each once: counting them a row is dear, threads share it
  PlanPoint after;
};

// What the consumer of the engine implements; called on the engine's executor, in order.
class FetchSink {
 public:
  virtual ~FetchSink() = default;
  virtual void on_batch(FetchedBatch batch) = 0;
  // The pass is over: ok after the last batch, else why it ended. Called once, nothing follows.
  virtual void on_end(Status status) = 0;
};

// Why the consumer's next batch is not there yet; read by the consumer while it waits.
enum class FetchState { kNetwork, kMemory, kDecode, kIdle };

struct FetchMetrics {
  Counter parts;    // range reads asked of the store
  Counter bytes;    // their bytes, but those read from memory
  Counter rereads;  // after a failed verification
  Counter evicted;  // samples dropped for lack of memory
  Counter singles;  // samples read alone for lack of memory
  std::atomic<uint64_t> in_flight{0};
  std::atomic<uint64_t> in_flight_max{0};
  std::atomic<FetchState> state{FetchState::kIdle};
};

// Whether decoded units stay until the end of the pass, for rows that are not planned yet.
enum class KeepUnits {
  kNo,
  kWithRoom,  // unless the memory is wanted: a shuffled order comes back to most units once, at the epoch's end
  kAll,       // single samples are asked for, and a unit gives many: all of them fit in memory
};

// One data set to read from; a mixture has several.
struct FetchSource {
  std::shared_ptr<ObjectStore> store;
  std::shared_ptr<const DatasetIndex> index;
  std::shared_ptr<const ShardCounts> counts;
  std::shared_ptr<const Cutter> cutter;
  std::string key_prefix;    // + ShardEntry::key = the object's key
  bool pin_versions = true;  // If-Match with the index's ETag
  // Of a store that keeps what it read: its reads are not counted as bytes received, and small samples are borrowed.
  std::shared_ptr<ByteLender> lender = nullptr;
  std::shared_ptr<const ShardFormat> shard_format = nullptr;  // stream order: how shards are read from front to back
  std::shared_ptr<const UnitSource> units = nullptr;  // of formats that are decoded in units: instead of a cutter
  KeepUnits keep_units = KeepUnits::kNo;

  uint64_t sample_bytes_mean() const;  // >= 1
};

struct FetchDeps {
  std::vector<FetchSource> sources;  // as the plan's rows number them; the engine runs on the first one's executor
  Executor* workers = nullptr;
  std::shared_ptr<BufferSource> buffers;
  std::shared_ptr<Budget> budget;
};

// How a fetcher is used.
class Fetcher {
 public:
  virtual ~Fetcher() = default;
  virtual void start() = 0;
  // The consumer can take `batches` more.
  virtual void allow(uint32_t batches) = 0;
  // How many batches left the fetcher and still hold memory downstream: the consumer says when one is gone.
  virtual void batch_gone() = 0;
  // What assembling a batch takes of the budget has become this (it was told at the start, too).
  virtual void expect_slots(uint64_t slot_bytes) { static_cast<void>(slot_bytes); }
  // Bytes are wanted by somebody downstream who cannot go on without them.
  virtual void give_back(uint64_t bytes) = 0;
  // Cancels reads, forgets the plan; returns when nothing of it runs or holds memory any more. Not from the
  // executor's thread.
  virtual void close() = 0;
  virtual const FetchMetrics& metrics() const = 0;
};

}  // namespace headrace
