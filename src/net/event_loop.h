// SPDX-License-Identifier: Apache-2.0
//
// One epoll loop on a thread of its own: file descriptor events, timers, posted tasks. The client transport and the
// embedded server both run on it. It owns sockets' events, never the sockets; it takes no lock that others hold long.
//
// Thread rules: post() and post_at() from any thread; watch/rearm/unwatch only on the loop's thread (or before start).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <queue>
#include <thread>
#include <vector>

#include "sys/executor.h"

namespace headrace {

// Receives the readiness of one file descriptor. Events are EPOLLIN, EPOLLOUT, EPOLLHUP, EPOLLERR, EPOLLRDHUP bits.
class FdHandler {
 public:
  virtual ~FdHandler() = default;
  virtual void on_events(uint32_t events) = 0;
};

class EventLoop final : public TimedExecutor {
 public:
  explicit EventLoop(const char* thread_name, const Clock& clock = SystemClock::instance());
  ~EventLoop() override;  // stops and joins

  void post(Task task) override;
  void post_at(TimePoint when, Task task) override;
  const Clock& clock() const override { return clock_; }

  // The handler must stay alive until unwatch(); after unwatch() it gets no further event, not even of this wake-up.
  // Edge-triggered when `events` has EPOLLET.
  Status watch(int fd, uint32_t events, FdHandler* handler);
  void rearm(int fd, uint32_t events, FdHandler* handler);
  void unwatch(int fd, FdHandler* handler);

  bool on_loop_thread() const { return std::this_thread::get_id() == thread_id_.load(std::memory_order_relaxed); }
  // Refuses further posts, runs what is queued (not future timers), joins. Idempotent; not from the loop's thread.
  void stop();

 private:
  struct Timer {
    TimePoint when;
    uint64_t order;
    mutable Task task;
    bool operator>(const Timer& o) const { return when != o.when ? when > o.when : order > o.order; }
  };
  void run();
  void run_posted();
  int wait_timeout_ms();

  const Clock& clock_;
  int epoll_fd_ = -1;
  int wake_fd_ = -1;   // eventfd
  int timer_fd_ = -1;  // timerfd: microsecond timers, epoll's own timeout has milliseconds
  std::mutex mutex_;
  std::vector<Task> posted_;
  std::vector<Timer> posted_timers_;
  bool wake_pending_ = false;
  std::atomic<bool> has_posted_{false};  // spares the loop the lock on wake-ups without posts
  std::atomic<bool> stopping_{false};
  // Loop thread only:
  std::priority_queue<Timer, std::vector<Timer>, std::greater<>> timers_;
  TimePoint armed_for_ = TimePoint::max();
  uint64_t next_order_ = 0;
  std::vector<FdHandler*> unwatched_;  // of this wake-up
  std::vector<Task> running_;          // posted_'s other half, so that its storage is reused
  std::atomic<std::thread::id> thread_id_;
  std::thread thread_;
};

}  // namespace headrace
