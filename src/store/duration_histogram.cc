// SPDX-License-Identifier: Apache-2.0
#include "store/duration_histogram.h"

#include <algorithm>
#include <cmath>

namespace headrace {
namespace {
constexpr double kFirstEdgeNanos = 250e3;
}  // namespace

void DurationHistogram::add(Nanos duration) {
  const double ratio = std::max(1.0, static_cast<double>(duration.count()) / kFirstEdgeNanos);
  const auto at = static_cast<size_t>(std::log2(ratio) * static_cast<double>(kPerOctave));
  counts_[std::min(at, counts_.size() - 1)] += 1;
  total_ += 1;
  if (total_ < kWeightMax) return;
  for (float& count : counts_) count /= 2;
  total_ /= 2;
}

Nanos DurationHistogram::quantile(double q) const {
  if (total_ <= 0) return Nanos::zero();
  const double above_max = (1 - q) * total_;
  double above = 0;
  size_t at = counts_.size();
  while (at > 0 && above + counts_[at - 1] <= above_max) above += counts_[--at];
  const double edge = kFirstEdgeNanos * std::exp2(static_cast<double>(at) / static_cast<double>(kPerOctave));
  return Nanos(static_cast<int64_t>(edge));
}

}  // namespace headrace
