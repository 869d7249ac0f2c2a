// SPDX-License-Identifier: Apache-2.0
//
// Assembles batches: decodes the wanted fields of B cut samples, each row written once, at its
// final place in memory that the budget was asked for. Row ranges run side by side on an executor;
// the result does not depend on how many threads there are.
//
// A sample that cannot be used (a field missing, undecodable, of another dtype than the rest) is a
// bad row. Policy kRaise: the batch fails with the first bad row's error. kSkip: the row is filled
// with the next good row of the batch, cyclically, marked not valid, and listed; a batch without a
// good row fails.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/unique_function.h"
#include "batch/column.h"
#include "batch/row_reader.h"
#include "sys/executor.h"

namespace headrace {

enum class BadSamples { kRaise, kSkip };

struct BatchRequest {
  std::vector<BatchRow> rows;  // at least one
  uint64_t epoch = 0;     // where the batch begins in the order, over all ranks
  uint64_t position = 0;
  std::shared_ptr<const void>
      hold;  // keeps the samples' bytes alive; let go when the batch is ready or has failed
  // The same, where the batch may keep it: nobody else uses any of it. Null: it may not.
  std::shared_ptr<RowMemory> own;
};

struct SkippedRow {
  uint64_t row = 0;
  uint64_t id = 0;
  std::string key;
  std::string shard;
  Status cause;
};

// One batch in the making. advance() until it is kReady or kFailed.
class Assembly {
 public:
  enum class State { kWorking, kWaitingForMemory, kReady, kFailed };

  virtual ~Assembly() = default;
  // Goes on until the batch is ready, has failed, or memory was refused (then: once more when the
  // budget had a release). `done` is called once, on this thread or the executor's, with the state
  // reached. Not while another advance() runs. Does at most about a millisecond of work on the
  // calling thread.
  // An executor that closes first destroys `done` uncalled.
  virtual void advance(UniqueFunction<void(State)> done) = 0;

  // In kWaitingForMemory: what the refused slot would charge.
  virtual uint64_t bytes_wanted() const = 0;
  // In kFailed.
  virtual const Status& status() const = 0;
  // In kReady, once.
  virtual std::shared_ptr<BatchData> take_batch() = 0;
  virtual std::vector<SkippedRow> take_skipped() = 0;
};

struct AssemblerOptions {
  BadSamples bad_samples = BadSamples::kRaise;
  // Work is cut into pieces of about this length: long against a hand-over (10 us), short against a
  // batch.
  uint64_t piece_nanos = 1'000'000;
  // Null: all columns are joined.
  std::shared_ptr<LooseWish> loose = nullptr;
};

// Immutable but for pooled scratch memory; any thread. Outlives its assemblies (they hold it).
class BatchAssembler : public std::enable_shared_from_this<BatchAssembler> {
 public:
  // kInvalidArgument for a faulty decode or two columns of one name. `workers` (not owned) may be
  // null: everything then runs inside advance().
  static Result<std::shared_ptr<BatchAssembler>> make(std::vector<FieldDecode> decodes,
                                                      std::shared_ptr<SlotPool> slots,
                                                      Executor* workers,
                                                      AssemblerOptions options = {});
  // Of a mixture: the same columns of every source, in the same order and of the same form; another
  // form is kInvalidArgument, naming the column and the source's number.
  static Result<std::shared_ptr<BatchAssembler>> make(DecodesBySource decodes, std::shared_ptr<SlotPool> slots,
                                                      Executor* workers, AssemblerOptions options = {});

  std::shared_ptr<Assembly> start(BatchRequest request);
  const std::vector<FieldDecode>& decodes() const { return decodes_[0]; }
  // What a batch of `rows` will charge as far as it is known beforehand (ragged columns are not in
  // it).
  uint64_t fixed_bytes(uint64_t rows) const;

 private:
  friend class AssemblyRun;
  BatchAssembler(DecodesBySource decodes, std::shared_ptr<SlotPool> slots, Executor* workers,
                 AssemblerOptions options);
  std::unique_ptr<ImageScratch> take_scratch();
  void give_scratch(std::unique_ptr<ImageScratch> scratch);

  const DecodesBySource decodes_;
  const std::shared_ptr<SlotPool> slots_;
  Executor* const workers_;
  const AssemblerOptions options_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<ImageScratch>> scratch_;
};

}  // namespace headrace
