// SPDX-License-Identifier: Apache-2.0
#include "device/pinned_extents.h"

#include <algorithm>
#include <iterator>

namespace headrace {

std::shared_ptr<PinnedExtents> PinnedExtents::make(std::shared_ptr<PinnedArena> arena, Executor& background,
                                                   uint64_t bytes_max) {
  return std::shared_ptr<PinnedExtents>(new PinnedExtents(std::move(arena), background, bytes_max));
}

PinnedExtents::~PinnedExtents() {
  if (!cuda_usable()) return;
  for (const auto& [at, size] : extents_) arena_->give(at, size);
}

uint64_t PinnedExtents::bytes() const {
  std::lock_guard lock(mutex_);
  return bytes_;
}

std::byte* PinnedExtents::take(uint64_t size) {
  HR_ASSERT(size > 0);
  const uint64_t bytes = PinnedArena::charge(size);
  std::lock_guard lock(mutex_);
  const auto found = std::ranges::find_if(free_, [bytes](const auto& piece) { return piece.second >= bytes; });
  if (found == free_.end()) {
    grow_locked(bytes);
    return nullptr;
  }
  const auto [at, room] = *found;
  free_.erase(found);
  if (room > bytes) free_.emplace(at + bytes, room - bytes);
  return at;
}

void PinnedExtents::grow_locked(uint64_t size) {
  const uint64_t more = std::max(size, kExtentBytes);
  if (growing_ || more > bytes_max_ || bytes_ > bytes_max_ - more) return;
  growing_ = true;
  bytes_ += more;
  background_.post([weak = weak_from_this(), more] {
    if (auto self = weak.lock()) self->add_extent(more);
  });
}

void PinnedExtents::add_extent(uint64_t size) {
  std::byte* at = arena_->take(size);
  // Memory that could not be locked is of no use here.
  const bool locked = at != nullptr && arena_->is_pinned(at);
  if (at != nullptr && !locked) arena_->give(at, size);
  std::lock_guard lock(mutex_);
  growing_ = !locked;  // refused once, refused again: no further attempts
  if (!locked) {
    bytes_ -= size;
    return;
  }
  extents_.emplace(at, size);
  free_.emplace(at, size);
}

void PinnedExtents::give(std::byte* at, uint64_t size) {
  std::lock_guard lock(mutex_);
  add_free_locked(at, PinnedArena::charge(size));
}

void PinnedExtents::add_free_locked(std::byte* at, uint64_t size) {
  auto extent = std::prev(extents_.upper_bound(at));
  auto after = free_.lower_bound(at);
  if (after != free_.end() && at + size == after->first && after->first < extent->first + extent->second) {
    size += after->second;
    after = free_.erase(after);
  }
  if (after != free_.begin()) {
    auto before = std::prev(after);
    if (before->first + before->second == at && before->first >= extent->first) {
      before->second += size;
      return;
    }
  }
  free_.emplace(at, size);
}

Buffer PinnedExtentPool::take(uint64_t size) {
  if (size < kDirectBytes) return rest_->take(size);
  const uint64_t cost = charge(size);
  if (!budget_->reserve(cost)) return {};
  if (std::byte* at = extents_->take(size); at != nullptr) return Buffer(this, MutableBytes(at, size), cost, 0);
  budget_->release(cost);
  return rest_->take(size);
}

void PinnedExtentPool::give_back(const Buffer& buffer) {
  if (!cuda_usable()) return;  // as PinnedArena::give
  extents_->give(buffer.bytes().data(), buffer.bytes().size());
  if (buffer.in_budget()) budget_->release(buffer.charged());
}

bool PinnedExtentPool::release_charge(const Buffer& buffer) {
  budget_->release(buffer.charged());
  return true;
}

}  // namespace headrace
