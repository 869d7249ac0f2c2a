// SPDX-License-Identifier: Apache-2.0
//
// Where work runs. A *serial* executor runs its tasks one at a time, in the order posted (an event
// loop, ManualExecutor); a ThreadPool runs them side by side.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "base/unique_function.h"
#include "sys/clock.h"

namespace headrace {

using Task = UniqueFunction<void()>;

class Executor {
 public:
  virtual ~Executor() = default;
  // Runs `task` later on this executor; never inside post(). After close() the task is destroyed unrun.
  virtual void post(Task task) = 0;
};

// A serial executor that can also run a task at a time. A timer that is no longer wanted is left to fire on an object
// that no longer cares (hold a weak reference), so there is no cancel.
class TimedExecutor : public Executor {
 public:
  virtual void post_at(TimePoint when, Task task) = 0;
  virtual const Clock& clock() const = 0;
};

// Runs nothing by itself: the test pulls. Serial; timers fire in run_until / advance in order of
// time, on a ManualClock.
class ManualExecutor final : public TimedExecutor {
 public:
  explicit ManualExecutor(ManualClock& clock) : clock_(clock) {}
  void post(Task task) override;
  void post_at(TimePoint when, Task task) override;
  const Clock& clock() const override { return clock_; }

  // Runs what is ready now, and what that posts; returns how many tasks ran.
  size_t run_ready();
  // Runs everything, moving the clock from timer to timer, until nothing is left or `limit` tasks have run.
  size_t run_all(size_t limit = 100'000'000);

 private:
  struct Timer {
    TimePoint when;
    uint64_t order;
    Task task;
  };
  bool take_next(Task& task);

  ManualClock& clock_;
  std::mutex mutex_;
  std::deque<Task> ready_;
  std::vector<Timer> timers_;  // heap, earliest first
  uint64_t next_order_ = 0;
};

// `threads` workers over one queue. close() runs what was posted before it, then joins.
class ThreadPool final : public Executor {
 public:
  ThreadPool(size_t threads, const char* name);
  ~ThreadPool() override;
  void post(Task task) override;
  void close();
  size_t threads() const { return threads_; }
  bool on_worker_thread() const;

 private:
  void run();

  const size_t threads_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Task> queue_;
  bool closing_ = false;
  std::vector<std::thread> workers_;
};

}  // namespace headrace
