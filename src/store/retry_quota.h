// SPDX-License-Identifier: Apache-2.0
//
// How many retries a whole store may have under way: a bucket of tokens that retries take and successes give back, so
// that an outage is met by a trickle of attempts and not by a storm.
//
// The AWS SDKs (mode "standard", 2026) *fail* a request when the bucket is empty. A training job needs every one of its
// requests in the end, and 1,000 in flight would empty a bucket of 500 in the first second of any outage: here an empty
// bucket makes a retry wait, and the bucket also refills with time, so that an outage that ends is always found out.
#pragma once

#include <cstdint>
#include <mutex>

#include "sys/clock.h"

namespace headrace {

class RetryQuota {
 public:
  // Starts full. `refill_per_s` tokens come back by themselves.
  RetryQuota(uint32_t capacity, uint32_t refill_per_s)
      : capacity_(capacity), refill_per_s_(refill_per_s), tokens_(capacity) {}

  bool take(uint32_t tokens, TimePoint now);
  void give_back(uint32_t tokens);
  double tokens() const;

 private:
  const double capacity_;
  const double refill_per_s_;
  mutable std::mutex mutex_;
  double tokens_;
  TimePoint refilled_{};
};

}  // namespace headrace
