// SPDX-License-Identifier: Apache-2.0
//
// WeightedDraws: sampling with replacement by weight (docs/ordering.md, "Weighted sampling"): which
// sample stands at a position, a pure function of (weights, seed, epoch, position). So it resumes
// and spreads over ranks as an Order does. It does not read samples.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/hash.h"
#include "base/result.h"

namespace headrace {

// Immutable, safe to share between threads.
class WeightedDraws {
 public:
  // Samples from first_sample to the next run's weigh this much each.
  struct Run {
    uint64_t first_sample = 0;
    double weight = 0;
  };

  // Memory: 24 bytes a run, so O(1) for each class where samples are stored by class. Errors: no
  // run, runs that do not begin at 0 and rise, a weight that is NaN, infinite or negative, all
  // zero.
  static Result<std::shared_ptr<const WeightedDraws>> from_runs(std::span<const Run> runs,
                                                                uint64_t samples, uint64_t seed);
  // One weight for each sample, read again at every draw (a memory-mapped file); `hold` keeps it
  // alive. Memory: 8 bytes for every 256 samples. Errors as above.
  static Result<std::shared_ptr<const WeightedDraws>> from_column(std::span<const float> weights,
                                                                  std::shared_ptr<const void> hold,
                                                                  uint64_t seed);

  uint64_t draw(uint64_t epoch, uint64_t position) const;  // sample number. O(log), no allocation
  uint64_t samples() const { return samples_; }
  uint64_t total() const { return total_; }  // sum of the integer weights, below 2^63
  uint64_t weight(uint64_t sample) const;    // its integer weight
  double share(uint64_t sample) const;       // weight / total
  Hash128 hash() const { return hash_; }     // of the integer weights: the same for both forms

 private:
  struct Class {
    uint64_t first_sample;
    uint64_t weight;
    uint64_t below;  // sum of the weights before
  };
  WeightedDraws() = default;
  uint64_t find_in_runs(uint64_t target) const;
  uint64_t find_in_column(uint64_t target) const;

  uint64_t samples_ = 0, total_ = 0, seed_ = 0;
  Hash128 hash_;
  std::vector<Class> classes_;     // from_runs
  std::span<const float> column_;  // from_column
  std::shared_ptr<const void> hold_;
  std::vector<uint64_t> below_;  // sum of the weights before each 256
  double scale_ = 1;             // integer weight = floor(weight * scale_), at least 1 if > 0
};

}  // namespace headrace
