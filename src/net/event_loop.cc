// SPDX-License-Identifier: Apache-2.0
#include "net/event_loop.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

namespace headrace {
namespace {
constexpr int kEventsPerWait = 256;
}

EventLoop::EventLoop(const char* thread_name, const Clock& clock) : clock_(clock) {
  epoll_fd_ = ::epoll_create1(EPOLL_CLOEXEC);
  wake_fd_ = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  timer_fd_ = ::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  HR_ASSERT(epoll_fd_ >= 0 && wake_fd_ >= 0 && timer_fd_ >= 0);
  for (int fd : {wake_fd_, timer_fd_}) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = nullptr;  // both only wake: posted tasks and due timers are looked at after every wait
    HR_ASSERT(::epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) == 0);
  }
  thread_ = std::thread([this] { run(); });
  thread_id_ = thread_.get_id();
  pthread_setname_np(thread_.native_handle(), std::string(thread_name).substr(0, 15).c_str());
}

EventLoop::~EventLoop() {
  stop();
  ::close(timer_fd_);
  ::close(wake_fd_);
  ::close(epoll_fd_);
}

void EventLoop::post(Task task) {
  bool wake;
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return;
    posted_.push_back(std::move(task));
    has_posted_.store(true, std::memory_order_relaxed);
    // The loop's own posts are seen before it waits.
    wake = !on_loop_thread() && !std::exchange(wake_pending_, true);
  }
  if (wake) {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = ::write(wake_fd_, &one, sizeof one);
  }
}

void EventLoop::post_at(TimePoint when, Task task) {
  if (on_loop_thread()) {
    timers_.push({when, next_order_++, std::move(task)});
    return;
  }
  post([this, when, task = std::move(task)]() mutable {
    timers_.push({when, next_order_++, std::move(task)});
  });
}

Status EventLoop::watch(int fd, uint32_t events, FdHandler* handler) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = handler;
  if (::epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) != 0) {
    return exhausted(std::string("watch a socket: ") + std::strerror(errno));
  }
  return {};
}

void EventLoop::rearm(int fd, uint32_t events, FdHandler* handler) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = handler;
  HR_ASSERT(::epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, fd, &event) == 0);
}

void EventLoop::unwatch(int fd, FdHandler* handler) {
  ::epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd, nullptr);
  unwatched_.push_back(handler);
}

void EventLoop::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    wake_pending_ = true;
  }
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = ::write(wake_fd_, &one, sizeof one);
  if (thread_.joinable()) thread_.join();
}

void EventLoop::run_posted() {
  // A post that this load misses has written wake_fd_ after it: the next wait returns at once.
  if (has_posted_.load(std::memory_order_relaxed)) {
    {
      std::lock_guard lock(mutex_);
      running_.swap(posted_);
      has_posted_.store(false, std::memory_order_relaxed);
      wake_pending_ = false;
    }
    for (Task& task : running_) task();
    running_.clear();
  }
  if (timers_.empty()) return;
  const TimePoint now = clock_.now();
  while (!timers_.empty() && timers_.top().when <= now) {
    Task task = std::move(timers_.top().task);
    timers_.pop();
    task();
  }
}

// Arms the timerfd for the earliest timer; 0 when something is due or posted already.
int EventLoop::wait_timeout_ms() {
  if (has_posted_.load(std::memory_order_relaxed)) return 0;
  if (timers_.empty()) return -1;
  const TimePoint when = timers_.top().when;
  if (when <= clock_.now()) return 0;
  if (when != armed_for_) {
    const auto nanos = when.time_since_epoch().count();
    itimerspec spec{};
    spec.it_value.tv_sec = nanos / 1'000'000'000;
    spec.it_value.tv_nsec = nanos % 1'000'000'000;
    ::timerfd_settime(timer_fd_, TFD_TIMER_ABSTIME, &spec, nullptr);
    armed_for_ = when;
  }
  return -1;
}

void EventLoop::run() {
  thread_id_ = std::this_thread::get_id();
  epoll_event events[kEventsPerWait];
  for (;;) {
    run_posted();
    if (stopping_) break;
    const int n = ::epoll_wait(epoll_fd_, events, kEventsPerWait, wait_timeout_ms());
    unwatched_.clear();
    for (int i = 0; i < n; ++i) {
      auto* handler = static_cast<FdHandler*>(events[i].data.ptr);
      if (handler == nullptr) {
        uint64_t drained;
        if (::read(wake_fd_, &drained, sizeof drained) < 0 &&
            ::read(timer_fd_, &drained, sizeof drained) > 0) {
          armed_for_ = TimePoint::max();
        }
        continue;
      }
      if (!unwatched_.empty() && std::ranges::find(unwatched_, handler) != unwatched_.end()) continue;
      handler->on_events(events[i].events);
    }
  }
  run_posted();  // what was queued before stop()
}

}  // namespace headrace
