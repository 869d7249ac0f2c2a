// SPDX-License-Identifier: Apache-2.0
//
// BufferPool: pooled heap buffers, counted in a Budget.
//
// Fresh memory costs 160-420 ms a GB to touch, a memcpy 93 (ARCHITECTURE.md), so memory is kept and used again. Sizes up
// to 512 KiB are rounded up to one of four classes a doubling (at most 25 %, on average about 10 % waste) and carved from
// 2 MiB slabs (huge pages where the kernel gives them); a slab that is all free serves another class. Larger buffers are
// mappings of their own, kept while the cache has room. What is charged to the budget is the class size of buffers in
// use; memory kept for reuse is given back to the kernel when the total mapped would exceed the pool's limit.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "sys/budget.h"
#include "sys/buffer_source.h"

namespace headrace {

class BufferPool final : public BufferSource {
 public:
  // Maps at most about `mapped_bytes_max` (kept free memory is dropped first; buffers in use are never refused for it:
  // the budget is what refuses).
  BufferPool(std::shared_ptr<Budget> budget, uint64_t mapped_bytes_max);
  ~BufferPool() override;

  Buffer take(uint64_t size) override;
  uint64_t charge(uint64_t size) const override;

  uint64_t mapped() const;  // bytes mapped now, in use or kept

 protected:
  void give_back(const Buffer& buffer) override;

 private:
  struct Slab;
  struct SizeClass {
    uint64_t size = 0;
    std::vector<Slab*> with_room;
  };
  std::byte* take_small_locked(uint32_t size_class);
  std::byte* take_large_locked(uint64_t size);
  void drop_kept_locked(uint64_t needed);
  Slab* new_slab_locked();

  const std::shared_ptr<Budget> budget_;
  const uint64_t mapped_max_;
  mutable std::mutex mutex_;
  std::vector<SizeClass> classes_;
  std::unordered_map<uintptr_t, std::unique_ptr<Slab>> slabs_;  // by address / kSlab
  std::vector<Slab*> empty_slabs_;
  std::multimap<uint64_t, std::byte*> kept_large_;  // by size
  uint64_t mapped_ = 0;
};

}  // namespace headrace
