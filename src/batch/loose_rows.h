// SPDX-License-Identifier: Apache-2.0
//
// Rows that stay where they were received: stored bytes of large samples cost nothing to hand over, where a copy into
// one column costs 0.09 CPU-s/GB and memory for both; so do the values of arrays, where a GPU's copy gathers them. Who
// wants them in one array has them joined (JoinedRows); from then on the assembler joins them itself, on the workers.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "batch/slot_pool.h"

namespace headrace {

struct Column;

// From this mean length on rows may stay: a Python object a row (0.2 us) is then below a tenth of the copy it saves.
inline constexpr uint64_t kLooseRowBytes = 16 << 10;

// What the samples of a batch lie in, when nobody else holds any of it.
class RowMemory {
 public:
  virtual ~RowMemory() = default;
  virtual uint64_t bytes() const = 0;  // charged to the budget
  virtual void leave_budget() = 0;     // as Buffer::leave_budget, of all of it
};

struct LooseOptions {
  uint64_t row_bytes_min = kLooseRowBytes;  // mean length from which rows may stay
  // Of arrays, too: for who takes columns by their rows, as numpy cannot.
  bool arrays = false;
};

// Whether loose rows are wanted; one for all batches of a stream. Any thread.
class LooseWish {
 public:
  explicit LooseWish(LooseOptions options = {}) : options_(options) {}
  uint64_t row_bytes_min() const { return options_.row_bytes_min; }
  bool arrays() const { return options_.arrays; }
  bool granted() const { return !joined_.load(std::memory_order_relaxed); }
  void ask_joined() { joined_.store(true, std::memory_order_relaxed); }

 private:
  const LooseOptions options_;
  std::atomic<bool> joined_{false};
};

// What a batch with loose rows holds.
struct LooseRows {
  std::shared_ptr<RowMemory> memory;
  std::shared_ptr<SlotPool> slots;
  std::shared_ptr<LooseWish> wish;
};

// The rows of a loose column one after another, in memory that counts in no budget.
class JoinedRows {
 public:
  JoinedRows(const Column& column, const LooseRows& from);
  MutableBytes bytes() const { return bytes_; }

 private:
  Slot slot_;
  std::unique_ptr<std::byte[]> own_;  // where the budget has no slot now
  MutableBytes bytes_;
};

}  // namespace headrace
