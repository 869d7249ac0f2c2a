// SPDX-License-Identifier: Apache-2.0
//
// How slow the simulated store is: log-normal first byte with a heavy tail, bytes per second of a
// connection and of the whole server. Every delay is a pure function of (seed, request, attempt),
// so that two clients, or two runs, meet the same weather. Knows no sockets and no clock.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "sys/clock.h"

namespace headrace::serve {

struct WeatherOptions {
  double first_byte_median_ms = 0;
  double first_byte_sigma = 0;  // of the natural logarithm
  double tail_probability = 0;  // share of requests that wait tail_ms at least
  double tail_ms = 0;
  double connection_bytes_per_s = 0;  // 0 = no cap
  double total_bytes_per_s = 0;       // 0 = no cap; shared by a server's loops in equal parts
  uint64_t seed = 1;
};

// "zero", "s3", "s3-tail", "express", "wan"; kInvalidArgument names them.
Result<WeatherOptions> weather_profile(std::string_view name);

// Ranges of the numbers above.
Status check_weather(const WeatherOptions& options);

class Weather {
 public:
  explicit Weather(const WeatherOptions& options) : options_(options) {}

  // attempt is 1 for the first request for these bytes.
  Nanos first_byte_delay(uint64_t request_hash, uint32_t attempt) const;
  const WeatherOptions& options() const { return options_; }

 private:
  WeatherOptions options_;
};

// 64 well-mixed bits of (seed, request, attempt, purpose).
uint64_t draw(uint64_t seed, uint64_t request_hash, uint32_t attempt, uint64_t purpose);
// Uniform in [0, 1).
inline double uniform_of(uint64_t bits) { return static_cast<double>(bits >> 11) * 0x1.0p-53; }

// Counts how often the same bytes were asked for. Bounded: a direct-mapped table of 2^18 entries (2
// MiB); a request that loses its slot to another starts at 1 again, which only changes the luck of
// a later retry.
class AttemptCounter {
 public:
  AttemptCounter() : slots_(kSlots) {}
  uint32_t next(uint64_t request_hash);

 private:
  static constexpr size_t kSlots = size_t{1} << 18;
  std::vector<uint64_t> slots_;  // high 48 bits: tag, low 16 bits: count
};

}  // namespace headrace::serve
