// SPDX-License-Identifier: Apache-2.0
//
// FaultPlan: the rules in force, and which of them a request falls to. Rules are tried in order,
// the first that fires wins; a rule counts the requests that reach it. Probabilities are drawn from
// (seed, rule, request, attempt), so a drill can be repeated. Does not spoil anything itself.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "serve/faults.h"
#include "sys/clock.h"

namespace headrace::serve {

// What a rule may look at.
struct FaultQuestion {
  std::string_view op;
  std::string_view bucket_and_key;
  std::string_view range;  // header, as given
  uint64_t seed = 0;       // the weather's
  uint64_t request_hash = 0;
  uint32_t attempt = 0;
  uint64_t in_flight = 0;
  bool reused = false;  // the connection has answered before
  TimePoint now{};
};

struct FaultCount {
  std::shared_ptr<const FaultRule> rule;
  uint64_t matched = 0;
  uint64_t fired = 0;
};

// Shared by the loops of a server; replaced while it runs.
class FaultPlan {
 public:
  // Counts begin at 0, time windows at `now`.
  void set(std::vector<FaultRule> rules, TimePoint now);
  // The rule that this request falls to, or null.
  std::shared_ptr<const FaultRule> next(const FaultQuestion& question);
  std::vector<FaultCount> counts() const;
  std::string json() const;  // the rules with how often each matched and fired

 private:
  struct Entry {
    FaultCount count;
    double tokens = 0;  // of above_per_s
    TimePoint filled{};
  };
  bool fires(Entry& entry, const FaultQuestion& question, size_t number) const;

  mutable std::mutex mutex_;
  std::atomic<bool> empty_{true};
  std::vector<Entry> entries_;
  TimePoint since_{};
};

}  // namespace headrace::serve
