// SPDX-License-Identifier: Apache-2.0
//
// A serial executor on a thread of its own, for tests that need real threads below src/net.
#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "sys/executor.h"

namespace headrace {

class TestLoop final : public TimedExecutor {
 public:
  TestLoop() : thread_([this] { run(); }) {}
  ~TestLoop() override {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }
  void post(Task task) override { post_at(TimePoint::min(), std::move(task)); }
  void post_at(TimePoint when, Task task) override {
    {
      std::lock_guard lock(mutex_);
      tasks_.emplace(when, std::move(task));
    }
    wake_.notify_one();
  }
  const Clock& clock() const override { return SystemClock::instance(); }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
      if (tasks_.empty()) {
        wake_.wait(lock);
      } else if (const TimePoint first = tasks_.begin()->first; first > clock().now()) {
        wake_.wait_until(lock, first);
      } else {
        Task task = std::move(tasks_.begin()->second);
        tasks_.erase(tasks_.begin());
        lock.unlock();
        task();
        task = nullptr;
        lock.lock();
      }
    }
  }
  std::mutex mutex_;
  std::condition_variable wake_;
  std::multimap<TimePoint, Task> tasks_;  // equal times in the order posted
  bool stopping_ = false;
  std::thread thread_;  // last: starts when the rest is there
};

}  // namespace headrace
