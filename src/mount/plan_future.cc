// SPDX-License-Identifier: Apache-2.0
#include "mount/plan_future.h"

#include <algorithm>
#include <functional>

namespace headrace::mount {
namespace {

// A node of the map, its bucket and its own allocation of turns; then 4 bytes a turn, half of them spare.
constexpr uint64_t kObjectBytes = 64 + 8 + 32;
constexpr uint64_t kUseBytes = 8;

}  // namespace

const Hash128& PlanFuture::newest(const Hash128& object) const {
  const Hash128* at = &object;
  for (auto it = replaced_.find(*at); it != replaced_.end(); it = replaced_.find(*at)) at = &it->second;
  return *at;
}

void PlanFuture::add(const Hash128& object, uint32_t turn) {
  std::lock_guard lock(mutex_);
  Turns& turns = turns_[newest(object)];
  turns.insert(std::ranges::lower_bound(turns, turn, std::greater<>()), turn);
  ++uses_;
}

void PlanFuture::remove(const Hash128& object, uint32_t turn) {
  std::lock_guard lock(mutex_);
  const auto found = turns_.find(newest(object));
  if (found == turns_.end()) return;
  Turns& turns = found->second;
  const auto use = std::ranges::lower_bound(turns, turn, std::greater<>());
  if (use == turns.end() || *use != turn) return;
  turns.erase(use);
  --uses_;
  if (!turns.empty()) return;
  turns_.erase(found);
  if (turns_.empty()) replaced_.clear();
}

void PlanFuture::replaced(const Hash128& old, const Hash128& now) {
  std::lock_guard lock(mutex_);
  const Hash128 from = newest(old);
  const auto found = turns_.find(from);
  if (from == now || found == turns_.end()) return;
  replaced_.erase(now);  // it may have been there before: no circle
  replaced_[from] = now;
  const Turns moved = std::move(found->second);
  turns_.erase(found);
  Turns& turns = turns_[now];
  turns.insert(turns.end(), moved.begin(), moved.end());
  std::ranges::sort(turns, std::greater<>());
}

uint32_t PlanFuture::next_after(const Hash128& object, uint32_t, uint32_t) const {
  std::lock_guard lock(mutex_);
  const auto found = turns_.find(object);
  return found == turns_.end() ? kNever : found->second.back();
}

uint64_t PlanFuture::bytes() const {
  std::lock_guard lock(mutex_);
  return (turns_.size() + replaced_.size()) * kObjectBytes + uses_ * kUseBytes;
}

}  // namespace headrace::mount
