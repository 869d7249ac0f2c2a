// SPDX-License-Identifier: Apache-2.0
//
// ReadAhead: how many bytes to read ahead of the consumer, by Little's law: an ordered stream waits
// for its slowest read, so it needs rate x slowest latency in memory, and no more: memory that was
// never used costs 160-420 ms a GB to touch. The rate is the best of the last seconds (while one
// late read holds back the rest, the average says nothing), the latency the worst. Pure; the engine
// feeds it.
#pragma once

#include <array>
#include <cstdint>

#include "sys/clock.h"

namespace headrace {

class ReadAhead {
 public:
  // Never below `bytes_min`; without measurements that is the answer.
  explicit ReadAhead(uint64_t bytes_min) : bytes_min_(bytes_min) {}

  // A read of `bytes` was answered `latency` after it was sent.
  void on_read(TimePoint now, Nanos latency, uint64_t bytes);
  uint64_t bytes() const { return bytes_; }

 private:
  // 100 ms is shorter than a stall, and long enough that what piled up behind one does not pass for
  // the wire's rate; 2 s of them see twenty late reads when 1 % are late at 1,000 reads a second.
  static constexpr Nanos kBucket = std::chrono::milliseconds(100);
  static constexpr size_t kBuckets = 20;
  struct Bucket {
    int64_t number = -1;
    uint64_t bytes = 0;
    Nanos slowest{};
  };
  void update();

  const uint64_t bytes_min_;
  uint64_t bytes_ = bytes_min_;
  int64_t last_ = -1;
  std::array<Bucket, kBuckets> buckets_;
};

}  // namespace headrace
