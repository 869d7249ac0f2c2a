// SPDX-License-Identifier: Apache-2.0
#include "sys/executor.h"

#include <pthread.h>

#include <algorithm>
#include <string>
#include <tuple>

namespace headrace {

namespace {
struct Later {
  template <class Timer>
  bool operator()(const Timer& a, const Timer& b) const {
    return std::tie(a.when, a.order) > std::tie(b.when, b.order);
  }
};
}  // namespace

void ManualExecutor::post(Task task) {
  std::lock_guard lock(mutex_);
  ready_.push_back(std::move(task));
}

void ManualExecutor::post_at(TimePoint when, Task task) {
  std::lock_guard lock(mutex_);
  timers_.push_back({when, next_order_++, std::move(task)});
  std::push_heap(timers_.begin(), timers_.end(), Later());
}

bool ManualExecutor::take_next(Task& task) {
  std::lock_guard lock(mutex_);
  if (!ready_.empty()) {
    task = std::move(ready_.front());
    ready_.pop_front();
    return true;
  }
  if (timers_.empty() || timers_.front().when > clock_.now()) return false;
  std::pop_heap(timers_.begin(), timers_.end(), Later());
  task = std::move(timers_.back().task);
  timers_.pop_back();
  return true;
}

size_t ManualExecutor::run_ready() {
  size_t ran = 0;
  for (Task task; take_next(task); task = Task()) {
    task();
    ++ran;
  }
  return ran;
}

size_t ManualExecutor::run_all(size_t limit) {
  size_t ran = 0;
  while (ran < limit) {
    ran += run_ready();
    std::lock_guard lock(mutex_);
    if (timers_.empty()) break;
    if (timers_.front().when > clock_.now()) clock_.advance(timers_.front().when - clock_.now());
  }
  return ran;
}

ThreadPool::ThreadPool(size_t threads, const char* name) : threads_(std::max<size_t>(threads, 1)) {
  for (size_t i = 0; i < threads_; ++i) {
    workers_.emplace_back([this] { run(); });
    pthread_setname_np(workers_.back().native_handle(), std::string(name).substr(0, 15).c_str());
  }
}

ThreadPool::~ThreadPool() { close(); }

void ThreadPool::post(Task task) {
  {
    std::lock_guard lock(mutex_);
    if (closing_) return;
    queue_.push_back(std::move(task));
  }
  wake_.notify_one();
}

void ThreadPool::close() {
  {
    std::lock_guard lock(mutex_);
    closing_ = true;
  }
  wake_.notify_all();
  for (auto& worker : workers_) {
    if (worker.joinable()) worker.join();
  }
}

bool ThreadPool::on_worker_thread() const {
  const auto me = std::this_thread::get_id();
  return std::ranges::any_of(workers_, [me](const std::thread& worker) { return worker.get_id() == me; });
}

void ThreadPool::run() {
  for (;;) {
    Task task;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return closing_ || !queue_.empty(); });
      if (queue_.empty()) return;
      task = std::move(queue_.front());
      queue_.pop_front();
    }
    task();
  }
}

}  // namespace headrace
