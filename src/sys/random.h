// SPDX-License-Identifier: Apache-2.0
//
// Randomness for jitter and simulated weather. Never for the sample order: that is plan/, integers only.
#pragma once

#include <cstdint>

namespace headrace {

class RandomSource {
 public:
  virtual ~RandomSource() = default;
  virtual uint64_t next() = 0;
  // Uniform in [0, 1).
  double uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
};

// SplitMix64 from a seed: reproducible, not thread-safe (each owner has its own).
class SeededRandom final : public RandomSource {
 public:
  explicit SeededRandom(uint64_t seed) : state_(seed) {}
  uint64_t next() override {
    uint64_t x = (state_ += 0x9E3779B97F4A7C15ull);
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
    return x ^ (x >> 31);
  }

 private:
  uint64_t state_;
};

// A seed from the operating system (getrandom).
uint64_t entropy_seed();

}  // namespace headrace
