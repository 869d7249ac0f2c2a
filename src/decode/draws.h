// SPDX-License-Identifier: Apache-2.0
//
// The random draws of one sample, a plain function of its 64-bit key: the same on every rank,
// worker and resume. The key is key(seed, epoch, 4, sample) of the order's specification
// (docs/ordering.md); the t-th draw is mix64(key + t*G), t = 1, 2, ..., with SplitMix64's
// finaliser.
#pragma once

#include <cstdint>

namespace headrace {

class Draws {
 public:
  explicit Draws(uint64_t key) : state_(key) {}

  uint64_t next() {
    uint64_t x = (state_ += 0x9E3779B97F4A7C15ull);
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
    return x ^ (x >> 31);
  }
  // Uniform in [0, 1): the upper 53 bits of one draw.
  double uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
  double uniform(double low, double high) { return low + (high - low) * uniform(); }
  // Uniform in [0, m), m > 0, without bias (Lemire): more than one draw in rare cases.
  uint64_t bounded(uint64_t m) {
    for (;;) {
      const auto product = static_cast<unsigned __int128>(next()) * m;
      const auto low = static_cast<uint64_t>(product);
      if (low >= m || low >= (0 - m) % m) return static_cast<uint64_t>(product >> 64);
    }
  }

 private:
  uint64_t state_;
};

}  // namespace headrace
