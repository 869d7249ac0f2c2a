// SPDX-License-Identifier: Apache-2.0
#include "fetch/read_ahead.h"

#include <algorithm>

namespace headrace {
namespace {
// Over the product, because both factors are estimates and too little costs a stall.
constexpr double kMargin = 1.3;
}  // namespace

void ReadAhead::on_read(TimePoint now, Nanos latency, uint64_t bytes) {
  const int64_t number = now.time_since_epoch() / kBucket;
  Bucket& bucket = buckets_[static_cast<size_t>(number) % kBuckets];
  if (bucket.number != number) bucket = {number, 0, {}};
  bucket.bytes += bytes;
  bucket.slowest = std::max(bucket.slowest, latency);
  if (number != last_) {
    last_ = number;
    update();
  }
}

void ReadAhead::update() {
  uint64_t most = 0;
  Nanos slowest{};
  for (const Bucket& bucket : buckets_) {
    if (bucket.number < 0 || bucket.number <= last_ - static_cast<int64_t>(kBuckets)) continue;
    // The current bucket is not full yet, but what it has is.
    most = std::max(most, bucket.bytes);
    slowest = std::max(slowest, bucket.slowest);
  }
  const double per_nano = static_cast<double>(most) / static_cast<double>(kBucket.count());
  bytes_ = std::max(bytes_min_, static_cast<uint64_t>(kMargin * per_nano * static_cast<double>(slowest.count())));
}

}  // namespace headrace
