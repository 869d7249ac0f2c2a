// SPDX-License-Identifier: Apache-2.0
#include "store/retry_quota.h"

#include <algorithm>

namespace headrace {

bool RetryQuota::take(uint32_t tokens, TimePoint now) {
  std::lock_guard lock(mutex_);
  if (refilled_ == TimePoint{}) refilled_ = now;
  if (now > refilled_) {
    const double seconds = std::chrono::duration<double>(now - refilled_).count();
    tokens_ = std::min(capacity_, tokens_ + seconds * refill_per_s_);
    refilled_ = now;
  }
  if (tokens_ < tokens) return false;
  tokens_ -= tokens;
  return true;
}

void RetryQuota::give_back(uint32_t tokens) {
  std::lock_guard lock(mutex_);
  tokens_ = std::min(capacity_, tokens_ + tokens);
}

double RetryQuota::tokens() const {
  std::lock_guard lock(mutex_);
  return tokens_;
}

}  // namespace headrace
