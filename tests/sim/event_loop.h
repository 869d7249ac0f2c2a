// SPDX-License-Identifier: Apache-2.0
//
// Virtual time for several processes: each has a serial executor of its own, all share one clock, and Timeline runs the
// earliest task of all. Everything happens on one thread, so a run is a function of its seed.
//
// shut_down() is for closing what waits for its own executor (FetchEngine::close): what is queued runs first, timers too,
// and from then on a posted task runs inside post().
#pragma once

#include <algorithm>
#include <deque>
#include <functional>
#include <memory>
#include <tuple>
#include <vector>

#include "draw.h"
#include "sys/executor.h"

namespace headrace::sim {

class Timeline;

class ProcessExecutor final : public TimedExecutor {
 public:
  explicit ProcessExecutor(Timeline& timeline) : timeline_(timeline) {}
  void post(Task task) override;
  void post_at(TimePoint when, Task task) override;
  const Clock& clock() const override;

  void shut_down() {
    run_rest();
    run_inside_post();
  }
  void run_rest();  // all that is queued, whatever its time
  void run_inside_post() { inline_ = true; }

 private:
  friend class Timeline;
  struct Event {
    TimePoint when;
    uint64_t order;
    Task task;
    bool operator<(const Event& other) const { return std::tie(when, order) > std::tie(other.when, other.order); }
  };
  Task take();

  Timeline& timeline_;
  std::vector<Event> timers_;  // heap, earliest first
  bool inline_ = false;
};

class Timeline {
 public:
  void add(ProcessExecutor* process) { processes_.push_back(process); }
  void remove(ProcessExecutor* process) { std::erase(processes_, process); }
  // Runs the earliest task; false: there is none.
  bool run_one();
  TimePoint now() const { return clock_.now(); }
  const ManualClock& clock() const { return clock_; }
  uint64_t events() const { return events_; }

 private:
  friend class ProcessExecutor;
  ManualClock clock_;
  std::vector<ProcessExecutor*> processes_;
  uint64_t order_ = 0, events_ = 0;
};

// Worker threads of a process: what is posted runs some time later, in no order.
class ProcessWorkers final : public Executor {
 public:
  ProcessWorkers(ProcessExecutor& home, Draw draw, Nanos longest) : home_(home), draw_(draw), longest_(longest) {}
  void post(Task task) override {
    home_.post_at(home_.clock().now() + Nanos(static_cast<int64_t>(draw_.below(longest_.count() + 1))),
                  std::move(task));
  }

 private:
  ProcessExecutor& home_;
  Draw draw_;
  Nanos longest_;
};

}  // namespace headrace::sim
