// SPDX-License-Identifier: Apache-2.0
//
// BatchStream: one pass over a data set as one rank sees it: batches in order, prefetched within the memory budget. The
// iterator contract (epochs, break, resume, state) is the Python Loader's; this is one run of it from one position.
//
// Thread rules: next() from one thread at a time; stats() and close() from any.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "batch/assembler.h"
#include "device/pinned_stream.h"
#include "fetch/batch_plan.h"
#include "fetch/stream_engine.h"
#include "loader/dataset.h"
#include "loader/store_counts.h"
#include "plan/order.h"
#include "plan/schedule.h"
#include "sys/clock.h"
#include "sys/memfd_arena.h"

namespace headrace {

// One data set of a stream; a mixture has several.
struct StreamSource {
  std::shared_ptr<Dataset> dataset;
  uint64_t seed = 0;
  Shuffle shuffle = Shuffle::kStratified;
  uint64_t block = 1;  // as chosen (plan/defaults.h) or given
  uint64_t lanes = 1;
  std::shared_ptr<const Selection> selection;  // null: all samples
  std::vector<DrawsFrom> draws;                // empty: each sample once an epoch
  uint64_t draws_epoch = 0;
  std::vector<FieldDecode> fields;  // empty = every field as raw bytes (tar) or as its encoding says (MDS)
};

struct StreamOptions {
  std::vector<StreamSource> sources;
  Position start;                      // epoch, position, drop: from a state; of one source
  std::optional<MixtureSpec> mixture;  // of several: names, weights, group, seed, epoch, changes
  MixturePoint mixture_start;
  uint64_t epochs = 1;        // how many epoch ends this pass may run up to (prefetch crosses all but the last)
  uint64_t share = 0, share_count = 1;  // of the batches, every share_count-th (fetch/batch_plan.h)
  uint64_t batches_max = 0;   // stop after so many batches; 0 = no limit
  uint32_t rank = 0;
  uint32_t world = 1;
  uint64_t batch = 1;         // rows a rank
  Remainder remainder = Remainder::kDrop;
  bool skip_bad = false;
  uint64_t memory_bytes = 0;  // this loader's part of the process budget; 0 = all of it
  // The stream order over one source that is not counted(); its rank, world, batch and batches_max are those above,
  // its seed the source's. What else orders samples is not used.
  std::optional<StreamJob> streams;
  uint64_t chunk_bytes = 1 << 20;  // of one range GET, of streams
  // Batches lie in this memory, for other processes to work on, and count in the budget until they are dropped; null:
  // in the heap, and only until they are delivered.
  std::shared_ptr<MemfdArena> shared;
  // Batches lie in page-locked memory, from which a GPU copies them, and count in the budget until they are dropped.
  std::optional<PinnedStream> pinned;
};

// Where the time went, from the first next() on. Nanoseconds.
struct StreamStats {
  uint64_t batches = 0, rows = 0;
  uint64_t bytes_received = 0;   // asked of the store, not of what is kept in memory
  uint64_t bytes_delivered = 0;  // stored bytes of the delivered samples
  uint64_t requests = 0, retries = 0, throttles = 0, rereads = 0;
  uint64_t hedges = 0, hedges_won = 0;  // late reads asked for a second time, and those whose second answer won
  uint64_t bad_samples = 0;
  CacheCounts cache;             // of the disk cache, all its readers in this process
  uint64_t evictions = 0;        // samples given back for lack of memory and read again
  uint64_t requests_in_flight = 0, requests_in_flight_max = 0;
  int64_t elapsed_nanos = 0;     // since the stream started
  int64_t first_batch_nanos = 0;
  int64_t wait_network_nanos = 0, wait_decode_nanos = 0, wait_memory_nanos = 0;  // inside next()
  int64_t consumer_nanos = 0;    // between calls of next()
  uint64_t memory_used = 0, memory_peak = 0, memory_max = 0;
};

class BatchStream {
 public:
  static Result<std::unique_ptr<BatchStream>> start(StreamOptions options);
  ~BatchStream();  // close()

  struct Delivered {
    std::shared_ptr<BatchData> batch;
    PlanPoint after;  // the state once this batch is in the trainer's hands
    std::vector<SkippedRow> skipped;  // bad samples of this batch (skip_bad)
  };
  enum class Turn { kBatch, kNotYet, kOver };
  struct Next {
    Turn turn = Turn::kOver;
    Delivered delivered;  // kBatch
  };
  // The next batch, or that it was not there within `wait` (call again), or that the pass is over. A failure is final:
  // the stream is closed.
  Result<Next> next(Nanos wait);

  // With `shared`: memory of it for what becomes of the batches; empty when the budget refuses.
  Slot take_shared(uint64_t bytes);

  StreamStats stats() const;
  void close();  // idempotent; cancels requests, returns memory

 private:
  struct Impl;
  explicit BatchStream(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace headrace
