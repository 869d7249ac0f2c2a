// SPDX-License-Identifier: Apache-2.0
//
// What a stream whose batches go to a GPU takes its memory from: slots for batches, and extents for large samples.
#pragma once

#include <memory>
#include <utility>

#include "device/cuda_copier.h"
#include "device/pinned_extents.h"

namespace headrace {

struct PinnedStream {
  CudaCopier* copier = nullptr;  // never null
  std::shared_ptr<PinnedArena> arena;
  std::shared_ptr<PinnedExtents> extents;  // null: all samples lie in ordinary memory

  std::shared_ptr<BufferSource> slots(std::shared_ptr<Budget> budget) const {
    return std::make_shared<PinnedPool>(std::move(budget), arena);
  }
  // Where samples are received: `rest` is for the small ones.
  std::shared_ptr<BufferSource> landing(std::shared_ptr<BufferSource> rest, std::shared_ptr<Budget> budget) const {
    if (!extents) return rest;
    return std::make_shared<PinnedExtentPool>(std::move(rest), std::move(budget), extents);
  }
  // Locking takes about a second a GiB: the first slots are made before they are needed.
  void prepare(uint32_t count, uint64_t slot_bytes) const { arena->prepare(copier->issuing(), count, slot_bytes); }
};

}  // namespace headrace
