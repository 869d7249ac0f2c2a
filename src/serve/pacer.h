// SPDX-License-Identifier: Apache-2.0
//
// When how many bytes of a body may leave: bytes per second of a connection and of the whole loop.
// Works in chunks of about 2 ms of line rate: a chunk leaves when its last byte would have arrived,
// so the time of a whole body is exact and a thousand paced connections need few timers. Pure
// arithmetic on the times it is given.
#pragma once

#include <algorithm>
#include <cstdint>

#include "sys/clock.h"

namespace headrace::serve {

// What the connections of a loop share: the time at which the common line is free again.
struct SharedLine {
  double bytes_per_s = 0;  // 0 = no cap
  TimePoint free_at{};

  // Takes `bytes` from `now` on; returns when their last one is through.
  TimePoint take(uint64_t bytes, TimePoint now) {
    if (bytes_per_s <= 0) return now;
    free_at = std::max(free_at, now) +
              Nanos(static_cast<int64_t>(static_cast<double>(bytes) / bytes_per_s * 1e9));
    return free_at;
  }
};

class Pacer {
 public:
  // For one body whose first byte is due at `start`.
  void begin(double bytes_per_s, SharedLine* line, TimePoint start) {
    rate_ = bytes_per_s;
    line_ = line;
    at_ = start;
  }
  bool paced() const { return rate_ > 0 || line_->bytes_per_s > 0; }

  struct Chunk {
    uint64_t bytes = 0;
    TimePoint when{};
  };
  // The next chunk of a body of which `left` bytes have not been released; times never lie before
  // `now`.
  Chunk next(uint64_t left, TimePoint now) {
    // The common line goes to who is due first, not to who asked first: the head alone leaves, and
    // the body's turn on the line is taken then.
    if (line_->bytes_per_s > 0 && at_ > now + kDueSoon) return {0, at_};
    const double rate = rate_ > 0 ? rate_ : line_->bytes_per_s;
    const auto quantum = static_cast<uint64_t>(
        std::max(rate * kChunkSeconds, rate < kSmallestFullChunk ? 1.0 : 4096.0));
    Chunk chunk{std::min(left, std::max<uint64_t>(quantum, 1)), at_};
    // A client that did not read for a while gets no burst for it: at most one chunk of credit.
    if (rate_ > 0) {
      const Nanos span(static_cast<int64_t>(static_cast<double>(chunk.bytes) / rate_ * 1e9));
      at_ = std::max(at_, now - span) + span;
      chunk.when = at_;
    }
    chunk.when = std::max(chunk.when, line_->take(chunk.bytes, std::max(now, at_)));
    return chunk;
  }

 private:
  static constexpr double kChunkSeconds = 0.002;
  static constexpr Nanos kDueSoon{100'000};  // as exact as timers are
  static constexpr double kSmallestFullChunk =
      100'000;  // slower lines drip byte by byte rather than 4 KiB a time

  double rate_ = 0;
  SharedLine* line_ = nullptr;
  TimePoint at_{};
};

}  // namespace headrace::serve
