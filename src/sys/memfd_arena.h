// SPDX-License-Identifier: Apache-2.0
//
// MemfdArena: memory that other processes can map: one anonymous file (memfd) of a large size of which only pages in
// use exist, mapped once. A process that is given the descriptor maps it and finds each piece at its offset. It is no
// file in /dev/shm, whose size containers limit to 64 MB, and nothing of it is left behind whatever process dies.
//
// MemfdPool: a BufferSource over it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>

#include "base/result.h"
#include "sys/budget.h"
#include "sys/buffer_source.h"

namespace headrace {

class MemfdArena {
 public:
  // Of `bytes_max` address space, or less where the process's limits allow no more (RLIMIT_AS, RLIMIT_FSIZE). Memory
  // that was given back is kept for pieces of the same size up to `kept_bytes_max`, the rest goes back to the kernel.
  // kUnsupported: the kernel refuses.
  static Result<std::shared_ptr<MemfdArena>> make(uint64_t bytes_max = kBytesMax,
                                                  uint64_t kept_bytes_max = kKeptBytesMax);
  ~MemfdArena();
  MemfdArena(const MemfdArena&) = delete;

  // Room for what a trainer may hold on to: more than machines have memory. Address space costs nothing.
  static constexpr uint64_t kBytesMax = 1ull << 40;
  // A few batches of 256 images of 224 x 224 x 3 bytes (38.5 MB).
  static constexpr uint64_t kKeptBytesMax = 256ull << 20;

  int descriptor() const { return descriptor_; }
  std::byte* data() const { return data_; }
  uint64_t size() const { return size_; }
  uint64_t kept() const;  // bytes

  // A whole number of pages (`size` > 0 rounded up); null when there is no such piece, and in a forked child: the
  // memory is its parent's. Any thread.
  std::byte* take(uint64_t size);
  void give(std::byte* at, uint64_t size);  // what take(size) gave
  static uint64_t charge(uint64_t size);    // rounded up to pages

 private:
  MemfdArena(int descriptor, std::byte* data, uint64_t size, uint64_t kept_bytes_max);
  struct Kept {
    uint64_t offset, size;
  };
  using KeptList = std::list<Kept>;  // the oldest first
  void drop(KeptList::iterator kept);
  void add_free(uint64_t offset, uint64_t size);

  const pid_t pid_;
  const int descriptor_;
  std::byte* const data_;
  const uint64_t size_;
  const uint64_t kept_bytes_max_;
  mutable std::mutex mutex_;
  std::map<uint64_t, uint64_t> free_;  // without pages: offset, size; neighbours are merged
  KeptList kept_;                      // with pages
  std::multimap<uint64_t, KeptList::iterator> kept_by_size_;
  uint64_t kept_bytes_ = 0;
};

class MemfdPool final : public BufferSource {
 public:
  // `budget` null: nothing is counted.
  MemfdPool(std::shared_ptr<Budget> budget, std::shared_ptr<MemfdArena> arena)
      : budget_(std::move(budget)), arena_(std::move(arena)) {}

  Buffer take(uint64_t size) override;
  uint64_t charge(uint64_t size) const override { return MemfdArena::charge(size); }

 protected:
  void give_back(const Buffer& buffer) override;
  bool release_charge(const Buffer& buffer) override;

 private:
  const std::shared_ptr<Budget> budget_;
  const std::shared_ptr<MemfdArena> arena_;
};

}  // namespace headrace
