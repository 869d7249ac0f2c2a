// SPDX-License-Identifier: Apache-2.0
//
// PinnedExtents: page-locked memory that large samples are received into, so that the copy to the GPU gathers them from
// where they landed: one landing, one copy. Extents are large because locking is dear and samples differ in size; they
// are made in the background, and until one is there samples lie in ordinary memory.
//
// PinnedExtentPool: a BufferSource that puts large buffers there and the rest where they went before.
#pragma once

#include <map>
#include <memory>
#include <mutex>

#include "device/pinned_arena.h"

namespace headrace {

// From this size on a sample is worth a copy of its own to the GPU: at 55 GB/s it takes 5 us, a call 2.
inline constexpr uint64_t kDirectBytes = 256 << 10;

class PinnedExtents : public std::enable_shared_from_this<PinnedExtents> {
 public:
  // At most `bytes_max` in extents, made on `background` (which outlives this).
  static std::shared_ptr<PinnedExtents> make(std::shared_ptr<PinnedArena> arena, Executor& background,
                                             uint64_t bytes_max);
  ~PinnedExtents();  // every piece was given back
  PinnedExtents(const PinnedExtents&) = delete;

  // 64 MiB are locked in about 60 ms.
  static constexpr uint64_t kExtentBytes = 64ull << 20;

  // Page-aligned; null: there is no room, and more is being made where bytes_max allows. Any thread; never waits.
  std::byte* take(uint64_t size);
  void give(std::byte* at, uint64_t size);
  uint64_t bytes() const;  // in extents

 private:
  PinnedExtents(std::shared_ptr<PinnedArena> arena, Executor& background, uint64_t bytes_max)
      : arena_(std::move(arena)), background_(background), bytes_max_(bytes_max) {}
  void grow_locked(uint64_t size);
  void add_extent(uint64_t size);
  void add_free_locked(std::byte* at, uint64_t size);

  const std::shared_ptr<PinnedArena> arena_;
  Executor& background_;
  const uint64_t bytes_max_;
  mutable std::mutex mutex_;
  std::map<std::byte*, uint64_t> extents_;
  std::map<std::byte*, uint64_t> free_;  // neighbours in one extent are merged
  uint64_t bytes_ = 0;                   // there or being made
  bool growing_ = false;
};

class PinnedExtentPool final : public BufferSource {
 public:
  PinnedExtentPool(std::shared_ptr<BufferSource> rest, std::shared_ptr<Budget> budget,
                   std::shared_ptr<PinnedExtents> extents)
      : rest_(std::move(rest)), budget_(std::move(budget)), extents_(std::move(extents)) {}

  Buffer take(uint64_t size) override;
  uint64_t charge(uint64_t size) const override { return rest_->charge(size); }

 protected:
  void give_back(const Buffer& buffer) override;
  bool release_charge(const Buffer& buffer) override;

 private:
  const std::shared_ptr<BufferSource> rest_;
  const std::shared_ptr<Budget> budget_;
  const std::shared_ptr<PinnedExtents> extents_;
};

}  // namespace headrace
