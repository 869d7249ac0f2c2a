// SPDX-License-Identifier: Apache-2.0
//
// BufferPool: pooled heap buffers, counted in a Budget.
//
// Fresh memory costs 160-420 ms a GB to touch, a memcpy 93 (ARCHITECTURE.md), so memory is kept and
// used again. Sizes up to 512 KiB are rounded up to one of four classes a doubling (at most 25 %, on
// average about 10 % waste) and carved from 2 MiB slabs; a
// slab that is all free serves another class. Larger buffers are mappings of their own, kept while
// the cache has room. What is charged to the budget is the class size of buffers in use; memory kept
// for reuse is given back to the kernel when the total mapped, and what others have charged to the
// budget, would exceed the pool's limit.
#pragma once

#include <cstdint>
#include <memory>

#include "sys/budget.h"
#include "sys/buffer_source.h"

namespace headrace {

class BufferPool final : public BufferSource {
 public:
  // Maps at most about `mapped_bytes_max` less what others than the pool hold of `budget` (kept free memory is dropped
  // first; buffers in use are never refused for it: the budget is what refuses).
  BufferPool(std::shared_ptr<Budget> budget, uint64_t mapped_bytes_max);
  // The same memory, charged to another budget.
  BufferPool(std::shared_ptr<Budget> budget, const BufferPool& shared);
  ~BufferPool() override;

  Buffer take(uint64_t size) override;
  uint64_t charge(uint64_t size) const override;

  uint64_t mapped() const;  // bytes mapped now, in use or kept
  void set_mapped_max(uint64_t bytes);
  // Gives kept memory back to the kernel as far as another claimant of the budget, who has reserved, leaves it no room.
  void trim();

 protected:
  void give_back(const Buffer& buffer) override;
  bool release_charge(const Buffer& buffer) override;

 private:
  class Memory;
  const std::shared_ptr<Budget> budget_;
  const std::shared_ptr<Memory> memory_;
};

}  // namespace headrace
