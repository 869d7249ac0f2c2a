// SPDX-License-Identifier: Apache-2.0
//
// DiskHealth: whether the disk is asked. After a failure, or when it kept somebody waiting, it is left alone for a
// while that doubles with each failure; then one operation is let through, and how that ends decides. Reading and
// writing are told apart: a full or read-only disk can still be read. Pure but for the mutex; time is given.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <mutex>

#include "sys/clock.h"

namespace headrace {

class DiskHealth {
 public:
  enum class Way { kRead, kWrite };
  static constexpr Nanos kPauseMin = std::chrono::seconds(10);
  static constexpr Nanos kPauseMax = std::chrono::seconds(320);

  // May it be asked now? A yes after a failure is for one operation, whose end must be told.
  bool may(Way way, TimePoint now) {
    std::lock_guard lock(mutex_);
    Side& side = sides_[static_cast<size_t>(way)];
    if (side.pause == Nanos(0)) return true;
    if (now < side.until) return false;
    side.until = now + side.pause;  // if it never ends, another one after that
    side.probing = true;
    return true;
  }
  // What was begun before the failure and ended well says nothing.
  void good(Way way) {
    std::lock_guard lock(mutex_);
    Side& side = sides_[static_cast<size_t>(way)];
    if (side.probing) side = {};
  }
  // True for the first failure after all was well.
  bool failed(Way way, TimePoint now) {
    std::lock_guard lock(mutex_);
    Side& side = sides_[static_cast<size_t>(way)];
    const bool first = side.pause == Nanos(0);
    if (!first && !side.probing) return false;  // begun before, nor does its failure
    side.pause = std::clamp(side.pause * 2, kPauseMin, kPauseMax);
    side.until = now + side.pause;
    side.probing = false;
    return first;
  }
  bool well(Way way) const {
    std::lock_guard lock(mutex_);
    return sides_[static_cast<size_t>(way)].pause == Nanos(0);
  }

 private:
  struct Side {
    Nanos pause{};  // 0: all is well
    TimePoint until{};
    bool probing = false;
  };
  mutable std::mutex mutex_;
  std::array<Side, 2> sides_;
};

}  // namespace headrace
