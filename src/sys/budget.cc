// SPDX-License-Identifier: Apache-2.0
#include "sys/budget.h"

#include <algorithm>
#include <map>

namespace headrace {

struct Budget::Core {
  std::mutex mutex;  // guards every Budget's numbers
  std::mutex listeners_mutex;  // held while listeners run, so that unsubscribe() can promise silence
  std::map<uint64_t, Listener> listeners;
  uint64_t next_id = 1;
};

std::shared_ptr<Budget> Budget::root(std::string name, uint64_t bytes_max) {
  return std::shared_ptr<Budget>(
      new Budget(std::make_shared<Core>(), nullptr, std::move(name), bytes_max));
}

std::shared_ptr<Budget> Budget::child(std::shared_ptr<Budget> parent, std::string name,
                                      uint64_t bytes_max) {
  auto core = parent->core_;
  return std::shared_ptr<Budget>(
      new Budget(std::move(core), std::move(parent), std::move(name), bytes_max));
}

bool Budget::reserve(uint64_t bytes) {
  std::lock_guard lock(core_->mutex);
  for (Budget* b = this; b != nullptr; b = b->parent_.get()) {
    if (b->used_ > b->max_ || bytes > b->max_ - b->used_) return false;
  }
  for (Budget* b = this; b != nullptr; b = b->parent_.get()) {
    b->used_ += bytes;
    b->peak_ = std::max(b->peak_, b->used_);
  }
  return true;
}

void Budget::reserve_over(uint64_t bytes) {
  std::lock_guard lock(core_->mutex);
  for (Budget* b = this; b != nullptr; b = b->parent_.get()) {
    b->used_ += bytes;
    b->peak_ = std::max(b->peak_, b->used_);
  }
}

void Budget::release(uint64_t bytes) {
  if (bytes == 0) return;
  {
    std::lock_guard lock(core_->mutex);
    for (Budget* b = this; b != nullptr; b = b->parent_.get()) {
      HR_ASSERT(b->used_ >= bytes);
      b->used_ -= bytes;
    }
  }
  std::lock_guard lock(core_->listeners_mutex);
  for (auto& [id, listener] : core_->listeners) {
    if (listener.on_release) listener.on_release();
  }
}

uint64_t Budget::subscribe(Listener listener) {
  std::lock_guard lock(core_->listeners_mutex);
  const uint64_t id = core_->next_id++;
  core_->listeners.emplace(id, std::move(listener));
  return id;
}

void Budget::unsubscribe(uint64_t id) {
  std::lock_guard lock(core_->listeners_mutex);
  core_->listeners.erase(id);
}

void Budget::shortfall(uint64_t id, uint64_t bytes) {
  std::lock_guard lock(core_->listeners_mutex);
  for (auto& [other, listener] : core_->listeners) {
    if (other != id && listener.on_shortfall) listener.on_shortfall(bytes);
  }
}

uint64_t Budget::used() const {
  std::lock_guard lock(core_->mutex);
  return used_;
}
uint64_t Budget::peak() const {
  std::lock_guard lock(core_->mutex);
  return peak_;
}
uint64_t Budget::bytes_max() const {
  std::lock_guard lock(core_->mutex);
  return max_;
}
void Budget::set_bytes_max(uint64_t bytes) {
  std::lock_guard lock(core_->mutex);
  max_ = bytes;
}

}  // namespace headrace
