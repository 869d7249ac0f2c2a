// SPDX-License-Identifier: Apache-2.0
//
// PinnedArena: batch slots in page-locked host memory, from which the GPU copies by itself: 5 times as fast as from
// ordinary memory, and without a thread waiting. Locking costs about a second a GiB, so slots are made once and used
// again; those of the first batches are made in the background. Where the kernel or the driver refuses (RLIMIT_MEMLOCK,
// some virtual machines), slots are ordinary memory: the copies are slower, a line in the log says so once, and
// pinned() counts.
//
// PinnedPool: a BufferSource over it, charged to a budget.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>

#include "device/cuda_device.h"
#include "sys/budget.h"
#include "sys/buffer_source.h"
#include "sys/executor.h"

namespace headrace {

class PinnedArena : public std::enable_shared_from_this<PinnedArena> {
 public:
  // Keeps at most `kept_bytes_max` of slots that were given back, for slots of the same size.
  static std::shared_ptr<PinnedArena> make(CudaDevice& device, uint64_t kept_bytes_max = kKeptBytesMax);
  ~PinnedArena();  // every slot was given back
  PinnedArena(const PinnedArena&) = delete;

  // 16 slots of 256 images of 224 x 224 x 3 bytes, or 4 of 256 MiB.
  static constexpr uint64_t kKeptBytesMax = 1ull << 30;

  // Page-aligned, charge(size) long; null: the kernel gives no memory. Waits while a slot is being made. Any thread.
  std::byte* take(uint64_t size);
  void give(std::byte* at, uint64_t size);
  static uint64_t charge(uint64_t size);  // rounded up to pages

  // Makes `count` slots of `size` on `background`, unless take() was there first.
  void prepare(Executor& background, uint32_t count, uint64_t size);

  bool is_pinned(const void* at) const;  // inside a page-locked slot
  // Bytes mapped, and how many of them are page-locked.
  uint64_t mapped() const { return mapped_.load(); }
  uint64_t pinned() const { return pinned_.load(); }

 private:
  struct Slot {
    uint64_t size = 0;
    bool pinned = false;
    bool used = false;
  };
  PinnedArena(CudaDevice& device, uint64_t kept_bytes_max) : device_(device), kept_bytes_max_(kept_bytes_max) {}
  std::byte* make_slot(uint64_t size, bool used);
  bool pin(std::byte* at, uint64_t size);
  void drop(std::byte* at, const Slot& slot);

  CudaDevice& device_;
  const uint64_t kept_bytes_max_;
  mutable std::mutex mutex_;
  std::map<std::byte*, Slot> slots_;
  std::multimap<uint64_t, std::byte*> free_;  // by size
  uint64_t kept_bytes_ = 0;
  uint32_t made_ = 0;  // ever
  bool refused_ = false;  // to page-lock: said once
  std::atomic<uint64_t> mapped_{0}, pinned_{0};
};

class PinnedPool final : public BufferSource {
 public:
  PinnedPool(std::shared_ptr<Budget> budget, std::shared_ptr<PinnedArena> arena)
      : budget_(std::move(budget)), arena_(std::move(arena)) {}

  Buffer take(uint64_t size) override;
  uint64_t charge(uint64_t size) const override { return PinnedArena::charge(size); }

 protected:
  void give_back(const Buffer& buffer) override;
  bool release_charge(const Buffer& buffer) override;

 private:
  const std::shared_ptr<Budget> budget_;
  const std::shared_ptr<PinnedArena> arena_;
};

}  // namespace headrace
