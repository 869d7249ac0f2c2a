// SPDX-License-Identifier: Apache-2.0
//
// How long things take: an online quantile in bounded memory, of about the last two thousand of them. Buckets are 9 %
// wide (8 an octave), from 0.25 ms to a minute. Pure; not thread-safe.
#pragma once

#include <array>
#include <cstddef>

#include "sys/clock.h"

namespace headrace {

class DurationHistogram {
 public:
  void add(Nanos duration);
  // No more than a share 1 - q of what was added took longer (to a bucket's upper edge); zero while empty.
  Nanos quantile(double q) const;
  // How many durations it speaks for; older ones count half, a quarter, ...
  double weight() const { return total_; }

 private:
  static constexpr size_t kPerOctave = 8, kOctaves = 18;
  // The second moment of forgetting: at this weight all counts are halved, so between 1,000 and 2,000 durations count.
  // The 0.97-quantile then rests on 30 to 60 of them.
  static constexpr double kWeightMax = 2048;

  std::array<float, kPerOctave * kOctaves> counts_{};
  double total_ = 0;
};

}  // namespace headrace
