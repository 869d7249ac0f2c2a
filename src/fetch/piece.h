// SPDX-License-Identifier: Apache-2.0
//
// Piece: the stored bytes of consecutive samples of one shard, in memory, verified against the index
// and cut into fields: all of them at once, or where few are wanted each when a batch asks for it.
// Large samples (FetchOptions::scatter_bytes_min) come one to a piece, so that each is freed as soon
// as it was delivered; small ones a whole range to a piece.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"
#include "format/sample.h"
#include "format/unit_rows.h"
#include "store/byte_lender.h"
#include "sys/budget.h"
#include "sys/buffer_source.h"

namespace headrace {

// Bytes of a budget that stand for memory which another library holds.
class BudgetShare {
 public:
  BudgetShare() = default;
  BudgetShare(BudgetShare&& other) noexcept
      : budget_(std::move(other.budget_)), bytes_(std::exchange(other.bytes_, 0)) {}
  BudgetShare& operator=(BudgetShare&& other) noexcept {
    resize(0);
    budget_ = std::move(other.budget_);
    bytes_ = std::exchange(other.bytes_, 0);
    return *this;
  }
  ~BudgetShare() { resize(0); }
  // False: the budget refuses.
  bool take(std::shared_ptr<Budget> budget, uint64_t bytes) {
    if (!budget->reserve(bytes)) return false;
    budget_ = std::move(budget);
    bytes_ = bytes;
    return true;
  }
  // Of what is there already.
  void hold(const std::shared_ptr<Budget>& budget, uint64_t bytes) {
    if (budget_ == nullptr && bytes > 0) budget_ = budget;
    resize(bytes);
  }
  // To what it has become; more is not refused, since it is there.
  void resize(uint64_t bytes) {
    if (budget_ == nullptr || bytes == bytes_) return;
    if (bytes > bytes_) budget_->reserve_over(bytes - bytes_);
    else budget_->release(bytes_ - bytes);
    bytes_ = bytes;
  }
  uint64_t bytes() const { return bytes_; }

 private:
  std::shared_ptr<Budget> budget_;
  uint64_t bytes_ = 0;
};

struct Piece {
  uint64_t shard = 0;
  uint64_t row_begin = 0, row_end = 0;  // rows of the shard
  uint64_t stored_begin = 0;            // offset of the first byte in the shard
  std::shared_ptr<BufferSource> source; // outlives `buffer`
  Buffer buffer;
  LentBytes lent;                       // instead of the buffer: the store keeps the bytes
  BudgetShare decoded;                  // what its rows hold: a unit's columns, what cutting made, places of rows
  std::shared_ptr<const UnitRows> rows; // of a unit, instead of a view; the buffer is then gone, or where they lie
  uint64_t read_bytes = 0;              // of a unit: stored bytes read for it
  SampleBatchView view;  // rows row_begin .. row_end - 1; empty when status is not ok, or samples are made late
  std::vector<uint32_t> begins;          // of samples that are cut late: where each begins in the bytes
  std::shared_ptr<const Cutter> cutter;  // ... and by what
  uint32_t planned = 0;  // rows planned from a scattered piece and not yet handed over (engine thread)
  uint64_t held_by = UINT64_MAX;  // the last batch that was given it (engine thread)
  uint64_t charged() const { return buffer.charged() + decoded.bytes(); }
  Bytes bytes() const { return lent.owner ? lent.bytes : Bytes(buffer.bytes()); }
  uint64_t stored_bytes() const { return rows ? read_bytes : bytes().size(); }
  Status status;         // kCorrupt: the bytes do not cut into these rows (what a bad-sample policy may skip)

  // Samples are not in `view`, but made by make_sample() when they are asked for.
  bool makes_late() const { return rows != nullptr || !begins.empty(); }
  // Appends the sample of this row of the piece. Any thread.
  Status make_sample(uint64_t row, SampleBatchView& out) const;
  // make_sample() of the row comes soon: the processor may fetch its bytes.
  void prefetch(uint64_t row) const;
};

// Checks the bytes of a piece against the index's CRCs (where it has them): the failing stride's
// range is in the message.
class DatasetIndex;
class Cutter;
Status verify_piece(const Piece& piece, const DatasetIndex& index);
// Fills view and status.
void cut_piece(Piece& piece, const Cutter& cutter);
// Leaves the cutting to make_sample(); where the format cannot tell its samples apart, cuts all.
void split_piece(Piece& piece, std::shared_ptr<const Cutter> cutter);

}  // namespace headrace
