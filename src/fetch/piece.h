// SPDX-License-Identifier: Apache-2.0
//
// Piece: the stored bytes of consecutive samples of one shard, in memory, verified against the index
// and cut into fields. Large samples (FetchOptions::scatter_bytes_min) come one to a piece, so that
// each is freed as soon as it was delivered; small ones a whole range to a piece.
#pragma once

#include <cstdint>
#include <memory>

#include "base/result.h"
#include "format/sample.h"
#include "format/unit_rows.h"
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
  // To what it has become; more is not refused, since it is there.
  void resize(uint64_t bytes) {
    if (budget_ == nullptr) return;
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
  BudgetShare decoded;                  // of a unit: what its rows hold
  std::shared_ptr<const UnitRows> rows; // of a unit, instead of a view; the buffer is then gone
  uint64_t read_bytes = 0;              // of a unit: stored bytes read for it
  SampleBatchView view;  // rows row_begin .. row_end - 1; empty when status is not ok
  uint32_t planned = 0;  // rows planned from a scattered piece and not yet handed over (engine thread)
  uint64_t charged() const { return buffer.charged() + decoded.bytes(); }
  uint64_t stored_bytes() const { return rows ? read_bytes : buffer.bytes().size(); }
  Status status;         // kCorrupt: the bytes do not cut into these rows (what a bad-sample policy may skip)
};

// Checks the bytes of a piece against the index's CRCs (where it has them): the failing stride's
// range is in the message.
class DatasetIndex;
class Cutter;
Status verify_piece(const Piece& piece, const DatasetIndex& index);
// Fills view and status.
void cut_piece(Piece& piece, const Cutter& cutter);

}  // namespace headrace
