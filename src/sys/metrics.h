// SPDX-License-Identifier: Apache-2.0
//
// Counters that are pulled, not pushed. One Metrics a loader or server; relaxed atomics: each counter is exact, a
// snapshot of several is not one instant.
#pragma once

#include <atomic>
#include <cstdint>

namespace headrace {

class Counter {
 public:
  void add(uint64_t by = 1) { value_.fetch_add(by, std::memory_order_relaxed); }
  uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

// What a store stack did. Retries and errors are counted where the decision is made.
struct StoreMetrics {
  Counter requests;         // sent, each attempt
  Counter bytes;            // body bytes received into their destination
  Counter retries;          // attempts after the first
  Counter throttles;        // 503 SlowDown, 429
  Counter hedges;           // late reads asked for a second time ...
  Counter hedges_won;       // ... whose second answer was the first good one
  Counter errors;           // attempts that failed, for whatever reason
  Counter connections;      // opened
  Counter first_byte_nanos; // summed over successful attempts: mean = / requests
};

}  // namespace headrace
