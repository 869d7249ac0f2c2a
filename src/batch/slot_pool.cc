// SPDX-License-Identifier: Apache-2.0
#include "batch/slot_pool.h"

#include <bit>

namespace headrace {
namespace {

// Sources have classes of their own for small sizes.
constexpr uint64_t kRoundedFrom = 256ull << 10;

uint64_t rounded(uint64_t bytes) {
  if (bytes < kRoundedFrom) return bytes;
  const uint64_t eighth = std::bit_floor(bytes) / 8;
  return (bytes + eighth - 1) / eighth * eighth;
}

}  // namespace

Slot SlotPool::take(uint64_t bytes) {
  Buffer buffer = source_->take(rounded(bytes));
  if (!buffer) return {};
  HR_ASSERT(reinterpret_cast<uintptr_t>(buffer.bytes().data()) % kSlotAlignment == 0);
  return Slot(source_, std::move(buffer));
}

uint64_t SlotPool::charge(uint64_t bytes) const { return source_->charge(rounded(bytes)); }

}  // namespace headrace
