// SPDX-License-Identifier: Apache-2.0
//
// Draw: everything a simulation does by lot, from one seed. Each part of a world draws from a source of its own
// (`part`), so that a change in how one part draws leaves the others as they were.
#pragma once

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <iterator>

#include "sys/clock.h"
#include "sys/random.h"

namespace headrace::sim {

class Draw {
 public:
  explicit Draw(uint64_t seed) : random_(seed) { random_.next(); }
  Draw part(uint64_t number) { return Draw(random_.next() ^ (number + 1) * 0xD1342543DE82EF95ull); }

  uint64_t next() { return random_.next(); }
  double uniform() { return random_.uniform(); }
  uint64_t below(uint64_t n) { return n <= 1 ? 0 : random_.next() % n; }
  uint64_t between(uint64_t low, uint64_t high) { return low + below(high - low + 1); }
  bool chance(double p) { return random_.uniform() < p; }
  // Every size is as likely as its double: small and large ones come up.
  uint64_t log_between(uint64_t low, uint64_t high) {
    const double from = std::log(static_cast<double>(low)), to = std::log(static_cast<double>(high) + 1.0);
    const auto x = static_cast<uint64_t>(std::exp(from + uniform() * (to - from)));
    return x < low ? low : x > high ? high : x;
  }
  template <class T>
  T one_of(std::initializer_list<T> list) {
    return *std::next(list.begin(), static_cast<std::ptrdiff_t>(below(list.size())));
  }
  Nanos micros(uint64_t low, uint64_t high) { return std::chrono::microseconds(log_between(low, high)); }

 private:
  SeededRandom random_;
};

}  // namespace headrace::sim
