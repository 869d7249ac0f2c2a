// SPDX-License-Identifier: Apache-2.0
#include "serve/weather.h"

#include <cmath>
#include <numbers>
#include <string>

namespace headrace::serve {
namespace {

enum Purpose : uint64_t { kTail = 1, kNormalRadius = 2, kNormalAngle = 3 };
constexpr double kDelayMsMax = 60'000;  // a log-normal has no end; a test does

uint64_t mix(uint64_t x) {  // SplitMix64's finaliser
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

struct NamedProfile {
  std::string_view name;
  WeatherOptions options;
};

// s3: median and tail of published same-region measurements (Quickwit 30 ms, mountpoint CI 16-28
// ms; 80-90 MB/s a connection by AWS's own guidance). s3-tail: the same with 0.5 % beyond 300 ms
// and a wide body, for tail studies. express: single-digit milliseconds. wan: another region.
const std::array<NamedProfile, 5> kProfiles = {{
    {"zero", {}},
    {"s3", {30, 0.35, 0.01, 300, 80e6, 0, 1}},
    {"s3-tail", {30, 0.6, 0.005, 900, 80e6, 0, 1}},
    {"express", {5, 0.25, 0.002, 50, 150e6, 0, 1}},
    {"wan", {120, 0.3, 0.01, 800, 20e6, 0, 1}},
}};

}  // namespace

Result<WeatherOptions> weather_profile(std::string_view name) {
  std::string known;
  for (const NamedProfile& profile : kProfiles) {
    if (profile.name == name) return profile.options;
    known += known.empty() ? "" : ", ";
    known += profile.name;
  }
  return invalid_argument("choose profile '" + std::string(name) + "': no such profile; one of " +
                          known);
}

Status check_weather(const WeatherOptions& o) {
  const auto within = [](double x, double low, double high) {
    return x >= low && x <= high;
  };  // false for NaN
  if (!within(o.first_byte_median_ms, 0, kDelayMsMax) || !within(o.tail_ms, 0, kDelayMsMax)) {
    return invalid_argument("set latency: milliseconds must be in [0, 60000]");
  }
  if (!within(o.first_byte_sigma, 0, 3))
    return invalid_argument("set latency: sigma must be in [0, 3]");
  if (!within(o.tail_probability, 0, 1))
    return invalid_argument("set latency: tail probability must be in [0, 1]");
  if (!within(o.connection_bytes_per_s, 0, 1e12) || !within(o.total_bytes_per_s, 0, 1e12)) {
    return invalid_argument("set bandwidth: bytes per second must be in [0, 1e12]; 0 means no cap");
  }
  return {};
}

uint64_t draw(uint64_t seed, uint64_t request_hash, uint32_t attempt, uint64_t purpose) {
  uint64_t x = mix(seed + 0x9E3779B97F4A7C15ull * (purpose + 1));
  x = mix(x ^ request_hash);
  return mix(x + 0xD1B54A32D192ED03ull * attempt);
}

Nanos Weather::first_byte_delay(uint64_t request_hash, uint32_t attempt) const {
  double ms = options_.first_byte_median_ms;
  if (ms > 0 && options_.first_byte_sigma > 0) {
    // Box-Muller; 1 - u is never 0.
    const double u = uniform_of(draw(options_.seed, request_hash, attempt, kNormalRadius));
    const double v = uniform_of(draw(options_.seed, request_hash, attempt, kNormalAngle));
    const double normal = std::sqrt(-2 * std::log(1 - u)) * std::cos(2 * std::numbers::pi * v);
    ms *= std::exp(options_.first_byte_sigma * normal);
  }
  if (options_.tail_probability > 0 &&
      uniform_of(draw(options_.seed, request_hash, attempt, kTail)) < options_.tail_probability) {
    ms = std::max(ms, options_.tail_ms);
  }
  return Nanos(static_cast<int64_t>(std::min(ms, kDelayMsMax) * 1e6));
}

uint32_t AttemptCounter::next(uint64_t request_hash) {
  constexpr uint64_t kCountMask = 0xFFFF;
  uint64_t& slot = slots_[request_hash & (kSlots - 1)];
  if ((slot & ~kCountMask) != (request_hash & ~kCountMask)) slot = request_hash & ~kCountMask;
  if ((slot & kCountMask) != kCountMask) ++slot;
  return static_cast<uint32_t>(slot & kCountMask);
}

}  // namespace headrace::serve
