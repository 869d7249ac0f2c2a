// SPDX-License-Identifier: Apache-2.0
//
// AssemblyRun: the steps of one batch. Private to this module; users see Assembly.
//
//   measure rows (pieces) -> decide forms and holes -> [slot] -> write rows (pieces) -> holes found
//   in writing?
//     no -> copy good rows into the holes -> ready
//     yes -> lay the ragged part out again -> [second slot] -> move ragged rows there -> copy ->
//     ready
#pragma once

#include <atomic>
#include <map>
#include <optional>

#include "batch/assembler.h"
#include "batch/layout.h"

namespace headrace {

class AssemblyRun final : public Assembly, public std::enable_shared_from_this<AssemblyRun> {
 public:
  AssemblyRun(std::shared_ptr<BatchAssembler> assembler, BatchRequest request);

  void advance(UniqueFunction<void(State)> done) override;
  uint64_t bytes_wanted() const override { return bytes_wanted_; }
  const Status& status() const override { return status_; }
  std::shared_ptr<BatchData> take_batch() override { return std::move(batch_); }
  std::vector<SkippedRow> take_skipped() override { return std::move(skipped_); }

 private:
  enum class Step { kMeasure, kTakeSlot, kWrite, kTakeSecondSlot, kFinish, kOver };
  // A step's part for one row; the row's fault, if it has one, goes into faults_.
  using RowWork = void (AssemblyRun::*)(uint64_t row, ImageScratch& scratch);

  void go_on();
  void stop(State state);
  void fail(Status status);
  // Runs `work` for all rows in pieces, then `next` as the step.
  void run_rows(RowWork work, std::vector<uint64_t> piece_ends, Step next);
  void run_piece(RowWork work, uint64_t begin, uint64_t end);
  std::vector<uint64_t> piece_ends(uint64_t (RowReader::*nanos)(uint64_t) const) const;
  void measure_row(uint64_t row, ImageScratch& scratch);
  void write_row(uint64_t row, ImageScratch& scratch);
  void write_key(uint64_t row);

  Status find_sources();
  std::vector<Bytes> rows_in_place(size_t column) const;
  void find_loose();
  void place_loose();
  void take_slot();
  void after_write();
  void take_second_slot();
  void finish();

  const std::shared_ptr<BatchAssembler> assembler_;
  BatchRequest request_;
  RowReader reader_;
  std::optional<BatchLayout> layout_;
  Step step_ = Step::kMeasure;
  UniqueFunction<void(State)> done_;
  std::vector<Status> faults_;     // one a row; each written by the piece that has the row
  std::vector<uint64_t> sources_;  // of each row: the row whose data it holds
  uint64_t bad_ = 0;
  std::map<size_t, std::vector<Bytes>> loose_;  // of loose columns: their rows
  std::atomic<uint64_t> pieces_left_{0};
  std::shared_ptr<BatchData> batch_;
  std::vector<SkippedRow> skipped_;
  uint64_t bytes_wanted_ = 0;
  Status status_;
};

}  // namespace headrace
