// SPDX-License-Identifier: Apache-2.0
#include "event_loop.h"

namespace headrace::sim {

void ProcessExecutor::post(Task task) { post_at(timeline_.now(), std::move(task)); }

void ProcessExecutor::post_at(TimePoint when, Task task) {
  if (inline_) return task();
  timers_.push_back({std::max(when, timeline_.now()), timeline_.order_++, std::move(task)});
  std::push_heap(timers_.begin(), timers_.end());
}

const Clock& ProcessExecutor::clock() const { return timeline_.clock_; }

Task ProcessExecutor::take() {
  std::pop_heap(timers_.begin(), timers_.end());
  Task task = std::move(timers_.back().task);
  timers_.pop_back();
  return task;
}

void ProcessExecutor::run_rest() {
  while (!timers_.empty()) take()();
}

bool Timeline::run_one() {
  ProcessExecutor* next = nullptr;
  for (ProcessExecutor* process : processes_) {
    if (process->timers_.empty()) continue;
    if (next == nullptr || next->timers_.front() < process->timers_.front()) next = process;
  }
  if (next == nullptr) return false;
  const TimePoint when = next->timers_.front().when;
  if (when > clock_.now()) clock_.advance(when - clock_.now());
  ++events_;
  next->take()();
  return true;
}

}  // namespace headrace::sim
