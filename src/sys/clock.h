// SPDX-License-Identifier: Apache-2.0
//
// Time enters the program here and nowhere else, so that tests can run a year in a second.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace headrace {

using Nanos = std::chrono::nanoseconds;
// A point on the monotonic clock.
using TimePoint = std::chrono::time_point<std::chrono::steady_clock, Nanos>;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimePoint now() const = 0;           // monotonic: timeouts, latencies
  virtual int64_t unix_seconds() const = 0;    // wall clock: signatures, log lines
};

// The machine's clocks. Stateless: use the shared instance.
class SystemClock final : public Clock {
 public:
  TimePoint now() const override;
  int64_t unix_seconds() const override;
  static const SystemClock& instance();
};

// Stands still until told to move. Safe to read from any thread.
class ManualClock final : public Clock {
 public:
  explicit ManualClock(int64_t unix_seconds = 1'700'000'000) : unix_start_(unix_seconds) {}
  TimePoint now() const override { return TimePoint(Nanos(elapsed_.load())); }
  int64_t unix_seconds() const override { return unix_start_ + elapsed_.load() / 1'000'000'000; }
  void advance(Nanos by) { elapsed_ += by.count(); }

 private:
  int64_t unix_start_;
  std::atomic<int64_t> elapsed_{0};
};

// An absolute time by which something must have happened; none() never passes.
struct Deadline {
  TimePoint at = TimePoint::max();

  static Deadline none() { return {}; }
  static Deadline after(const Clock& clock, Nanos span) { return {clock.now() + span}; }
  bool passed(TimePoint now) const { return now >= at; }
};

}  // namespace headrace
