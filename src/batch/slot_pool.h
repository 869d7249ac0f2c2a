// SPDX-License-Identifier: Apache-2.0
//
// Memory for batches, from a BufferSource. Sizes are rounded up to eighths of a power of two,
// because ragged batches differ a little in size and a source can only use memory again for the
// same size: at most 12.5 % more than needed, instead of fresh pages (160-420 ms a GB to touch) for
// every batch.
#pragma once

#include <cstdint>
#include <memory>

#include "sys/buffer_source.h"

namespace headrace {

inline constexpr uint64_t kSlotAlignment =
    64;  // a cache line; what SIMD loads and DLPack consumers expect

// Movable; keeps its source alive, so that a batch may outlive its loader.
class Slot {
 public:
  Slot() = default;
  Slot(std::shared_ptr<BufferSource> source, Buffer buffer)
      : source_(std::move(source)), buffer_(std::move(buffer)) {}
  Slot(Slot&&) noexcept = default;
  Slot& operator=(Slot&& other) noexcept {
    buffer_ = std::move(other.buffer_);  // before its source goes
    source_ = std::move(other.source_);
    return *this;
  }

  explicit operator bool() const { return static_cast<bool>(buffer_); }
  MutableBytes bytes() const { return buffer_.bytes(); }
  // The bytes are no longer counted in the budget.
  void detach() { buffer_.leave_budget(); }

 private:
  std::shared_ptr<BufferSource> source_;
  Buffer buffer_;
};

class SlotPool {
 public:
  explicit SlotPool(std::shared_ptr<BufferSource> source) : source_(std::move(source)) {}

  // At least `bytes` (> 0), 64-byte aligned, contents undefined; empty when the budget refuses. Any
  // thread.
  Slot take(uint64_t bytes);
  // What take(bytes) would charge to the budget.
  uint64_t charge(uint64_t bytes) const;

 private:
  const std::shared_ptr<BufferSource> source_;
};

}  // namespace headrace
