// SPDX-License-Identifier: Apache-2.0
//
// Stopping in order (after seastar::gate): work enters, close() refuses newcomers and waits until all have left.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace headrace {

class Gate {
 public:
  // False after close(): do not start the work.
  bool enter() {
    std::lock_guard lock(mutex_);
    if (closed_) return false;
    ++inside_;
    return true;
  }
  void leave() {
    std::lock_guard lock(mutex_);
    if (--inside_ == 0) empty_.notify_all();
  }
  void close() {
    std::unique_lock lock(mutex_);
    closed_ = true;
    empty_.wait(lock, [this] { return inside_ == 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable empty_;
  uint64_t inside_ = 0;
  bool closed_ = false;
};

}  // namespace headrace
