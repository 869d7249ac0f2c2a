// SPDX-License-Identifier: Apache-2.0
//
// What the exhaustive tests share: how much to do, random small worlds, and the count of cases.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <string_view>
#include <vector>

#include "plan/integers.h"

namespace headrace::exhaustive {

inline constexpr uint64_t kShardsMax = 12;
inline constexpr uint64_t kSamplesOfShardMax = 9;
inline constexpr uint32_t kRanksMax = 8;

// Everything that ends within a quarter of an hour, instead of what ends within seconds.
inline bool full() {
  const char* scale = std::getenv("HR_EXHAUSTIVE");
  return scale != nullptr && std::string_view(scale) == "full";
}

// 0..9 samples for each of `shards` shards, at least one sample.
inline std::vector<uint64_t> random_counts(OrderStream& random, uint64_t shards) {
  std::vector<uint64_t> counts(shards);
  uint64_t total = 0;
  while (total == 0) {
    for (uint64_t& count : counts) total += count = random.bounded(kSamplesOfShardMax + 1);
  }
  return counts;
}

// The next counts in lexical order; false after 9 9 ... 9.
inline bool next_counts(std::vector<uint64_t>& counts) {
  for (size_t i = counts.size(); i-- > 0;) {
    if (++counts[i] <= kSamplesOfShardMax) return true;
    counts[i] = 0;
  }
  return false;
}

// Counts what was checked and says it, with the CPU time, when the test ends.
class Tally {
 public:
  explicit Tally(std::string what) : what_(std::move(what)), began_(std::clock()) {}
  Tally(const Tally&) = delete;
  ~Tally() {
    const double seconds = static_cast<double>(std::clock() - began_) / CLOCKS_PER_SEC;
    std::printf("%s: %llu cases, %llu deliveries, %.1f s CPU\n", what_.c_str(),
                static_cast<unsigned long long>(cases_),
                static_cast<unsigned long long>(deliveries_), seconds);
  }
  void add(uint64_t deliveries) {
    ++cases_;
    deliveries_ += deliveries;
  }
  uint64_t cases() const { return cases_; }

 private:
  std::string what_;
  std::clock_t began_;
  uint64_t cases_ = 0, deliveries_ = 0;
};

}  // namespace headrace::exhaustive
