// SPDX-License-Identifier: Apache-2.0
#include "plan/weighted_draws.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>

#include "plan/integers.h"
#include "plan/shard_counts.h"

namespace headrace {
namespace {

constexpr uint64_t kChunk = 256;        // samples of a column for each sum that is kept
constexpr int kSumBits = 62;            // the sum of the integer weights stays below 2^62 + N
constexpr int kExponentMax = 800;       // of the largest weight, so that the scale is a double
constexpr uint64_t kHashedRuns = 4096;  // runs that are hashed at a time

std::string number(uint64_t value) { return std::to_string(value); }

Status refuse(const std::string& what) { return invalid_argument("weigh samples: " + what); }

Status check_weight(uint64_t sample, double weight) {
  if (std::isfinite(weight) && weight >= 0) return {};
  return refuse("sample " + number(sample) + ": weight=" + std::to_string(weight) +
                ", must be finite and not negative");
}

Status check_largest(double largest, uint64_t samples) {
  if (samples == 0 || samples > kSamplesMax) {
    return refuse("samples=" + number(samples) + ", must be 1.." + number(kSamplesMax));
  }
  if (largest == 0) return refuse("all weights are 0: samples=" + number(samples));
  if (std::abs(std::ilogb(largest)) >= kExponentMax) {
    return refuse("the largest weight is out of range: " + std::to_string(std::ilogb(largest)) +
                  " binary digits, at most " + number(kExponentMax) + "; scale the weights");
  }
  return {};
}

uint64_t whole(double weight, double scale) {
  const auto units = static_cast<int64_t>(weight * scale);  // below 2^62
  return static_cast<uint64_t>(std::max<int64_t>(units, weight > 0 ? 1 : 0));
}

// The exponent k of the first scale 2^k: N times the largest weight stays below 2^62.
int first_exponent(double largest, uint64_t samples) {
  return kSumBits - (std::ilogb(largest) + 1) - static_cast<int>(std::bit_width(samples));
}

// How much finer the scale may get, given the sum of the weights rounded down under the first.
int finer_exponent(uint64_t rough_sum, uint64_t samples) {
  return kSumBits - static_cast<int>(std::bit_width(rough_sum + samples));
}

// Hashes the runs of equal integer weights, in stored order; the same for every way to write them.
class RunHasher {
 public:
  void add(uint64_t first_sample, uint64_t weight) {
    if (!runs_.empty() && last_ == weight) return;
    if (runs_.size() == 2 * kHashedRuns) flush();
    runs_.insert(runs_.end(), {first_sample, weight});
    last_ = weight;
  }
  Hash128 hash(uint64_t samples) {
    flush();
    return hasher_.add(samples).hash();
  }

 private:
  void flush() {
    hasher_.add(hash128(std::as_bytes(std::span(runs_))).hex());
    runs_.clear();
  }

  FieldHasher hasher_ = FieldHasher().add("weights 1");
  std::vector<uint64_t> runs_;
  uint64_t last_ = 0;
};

}  // namespace

Result<std::shared_ptr<const WeightedDraws>> WeightedDraws::from_runs(std::span<const Run> runs,
                                                                      uint64_t samples,
                                                                      uint64_t seed) {
  if (runs.empty() || runs[0].first_sample != 0) return refuse("the first run must begin at 0");
  double largest = 0;
  for (size_t i = 0; i < runs.size(); ++i) {
    const uint64_t end = i + 1 < runs.size() ? runs[i + 1].first_sample : samples;
    if (end <= runs[i].first_sample) {
      return refuse("run " + number(i) + " must end after its beginning " +
                    number(runs[i].first_sample) + ", not at " + number(end));
    }
    HR_TRY(check_weight(runs[i].first_sample, runs[i].weight));
    largest = std::max(largest, runs[i].weight);
  }
  HR_TRY(check_largest(largest, samples));

  const auto length = [&](size_t i) {
    return (i + 1 < runs.size() ? runs[i + 1].first_sample : samples) - runs[i].first_sample;
  };
  const int first = first_exponent(largest, samples);
  uint64_t rough = 0;
  for (size_t i = 0; i < runs.size(); ++i) {
    rough += length(i) * static_cast<uint64_t>(runs[i].weight * std::ldexp(1.0, first));
  }
  auto draws = std::shared_ptr<WeightedDraws>(new WeightedDraws);
  draws->scale_ = std::ldexp(1.0, first + finer_exponent(rough, samples));
  RunHasher hasher;
  for (size_t i = 0; i < runs.size(); ++i) {
    const uint64_t weight = whole(runs[i].weight, draws->scale_);
    draws->classes_.push_back({runs[i].first_sample, weight, draws->total_});
    draws->total_ += length(i) * weight;
    hasher.add(runs[i].first_sample, weight);
  }
  draws->samples_ = samples;
  draws->seed_ = seed;
  draws->hash_ = hasher.hash(samples);
  return std::shared_ptr<const WeightedDraws>(std::move(draws));
}

Result<std::shared_ptr<const WeightedDraws>> WeightedDraws::from_column(
    std::span<const float> weights, std::shared_ptr<const void> hold, uint64_t seed) {
  const uint64_t samples = weights.size();
  float largest = 0;
  for (uint64_t i = 0; i < samples; ++i) {
    HR_TRY(check_weight(i, weights[i]));
    largest = std::max(largest, weights[i]);
  }
  HR_TRY(check_largest(largest, samples));

  const int first = first_exponent(largest, samples);
  const double first_scale = std::ldexp(1.0, first);
  uint64_t rough = 0;
  for (const float weight : weights) rough += static_cast<uint64_t>(weight * first_scale);
  auto draws = std::shared_ptr<WeightedDraws>(new WeightedDraws);
  draws->scale_ = std::ldexp(1.0, first + finer_exponent(rough, samples));
  RunHasher hasher;
  for (uint64_t i = 0; i < samples; ++i) {
    if (i % kChunk == 0) draws->below_.push_back(draws->total_);
    const uint64_t weight = whole(weights[i], draws->scale_);
    draws->total_ += weight;
    hasher.add(i, weight);
  }
  draws->column_ = weights;
  draws->hold_ = std::move(hold);
  draws->samples_ = samples;
  draws->seed_ = seed;
  draws->hash_ = hasher.hash(samples);
  return std::shared_ptr<const WeightedDraws>(std::move(draws));
}

// The last class that begins at or below the target: those of weight 0 before it begin there too.
uint64_t WeightedDraws::find_in_runs(uint64_t target) const {
  const auto after =
      std::upper_bound(classes_.begin(), classes_.end(), target,
                       [](uint64_t value, const Class& entry) { return value < entry.below; });
  const Class& found = *(after - 1);
  return found.first_sample + (target - found.below) / found.weight;
}

uint64_t WeightedDraws::find_in_column(uint64_t target) const {
  const auto after = std::upper_bound(below_.begin(), below_.end(), target);
  uint64_t left = target - *(after - 1);
  auto sample = static_cast<uint64_t>(after - below_.begin() - 1) * kChunk;
  for (; sample + 1 < samples_; ++sample) {
    const uint64_t weight = whole(column_[sample], scale_);
    if (left < weight) break;
    left -= weight;
  }
  return sample;
}

uint64_t WeightedDraws::draw(uint64_t epoch, uint64_t position) const {
  OrderStream stream(order_key(seed_, epoch, OrderTag::kSampler, position));
  const uint64_t target = stream.bounded(total_);
  return classes_.empty() ? find_in_column(target) : find_in_runs(target);
}

uint64_t WeightedDraws::weight(uint64_t sample) const {
  HR_ASSERT(sample < samples_);
  if (classes_.empty()) return whole(column_[sample], scale_);
  const auto after = std::upper_bound(
      classes_.begin(), classes_.end(), sample,
      [](uint64_t value, const Class& entry) { return value < entry.first_sample; });
  return (after - 1)->weight;
}

double WeightedDraws::share(uint64_t sample) const {
  return static_cast<double>(weight(sample)) / static_cast<double>(total_);
}

}  // namespace headrace
