// SPDX-License-Identifier: Apache-2.0
#include "plan/quality.h"

#include <algorithm>
#include <string>

#include "base/checked.h"

namespace headrace {
namespace {

constexpr uint32_t kClassesMax = 1u << 24;

bool meaningful(uint64_t samples, uint64_t batch, uint64_t m) {
  const auto window = checked_mul(batch, m);
  return window && *window > 0 && *window <= samples / 2;
}

// Sums of one window length over the epoch: chi-square of class counts against w * q, window by
// window. sum (n - w q)^2 / (w q) = sum n^2 / (w q) - w, so that only the classes seen cost time.
class WindowSums {
 public:
  WindowSums(uint64_t window, const std::vector<uint64_t>& class_sizes, uint64_t samples)
      : window_(window), samples_(samples), sizes_(class_sizes), seen_(class_sizes.size()) {}

  void add(uint32_t label) {
    Seen& seen = seen_[label];
    if (seen.window != windows_) seen = {windows_, 0};
    squares_ += static_cast<double>(2 * seen.count + 1) / static_cast<double>(sizes_[label]);
    ++seen.count;
    if (++filled_ < window_) return;
    const auto w = static_cast<double>(window_);
    chi_squares_ += squares_ * static_cast<double>(samples_) / w - w;
    ++windows_;
    filled_ = 0;
    squares_ = 0;
  }
  // Mean over the whole windows; 0 windows cannot be, a window is at most half of the epoch.
  double mean() const { return chi_squares_ / static_cast<double>(windows_ - 1); }

 private:
  struct Seen {
    uint64_t window = 0;
    uint64_t count = 0;
  };
  uint64_t window_, samples_;
  const std::vector<uint64_t>& sizes_;
  std::vector<Seen> seen_;
  uint64_t windows_ = 1;  // number of the open window
  uint64_t filled_ = 0;
  double squares_ = 0;
  double chi_squares_ = 0;
};

Result<std::vector<uint64_t>> class_sizes(std::span<const uint32_t> labels) {
  std::vector<uint64_t> sizes;
  for (uint32_t label : labels) {
    if (label >= kClassesMax) {
      return invalid_argument("compute design effect: label " + std::to_string(label) +
                              ", must be below " + std::to_string(kClassesMax) +
                              "; number the classes from 0");
    }
    if (label >= sizes.size()) sizes.resize(label + 1, 0);
    ++sizes[label];
  }
  return sizes;
}

}  // namespace

std::optional<double> design_effect_bound(uint64_t samples, uint64_t block, uint64_t lanes,
                                          uint64_t batch, uint64_t m, double rho) {
  HR_ASSERT(block > 0 && lanes > 0);
  if (!meaningful(samples, batch, m)) return std::nullopt;
  const double x = static_cast<double>(m * batch) / static_cast<double>(lanes);
  const auto c = static_cast<double>(block);
  double sum = 0;
  for (double k = 1; k < x && k < c; ++k) sum += (1 - k / x) * (1 - k / c);
  return 1 + 2 * rho * sum;
}

Result<std::vector<std::optional<double>>> design_effect(const Order& order,
                                                         std::span<const uint32_t> labels,
                                                         uint64_t batch,
                                                         std::span<const uint64_t> windows) {
  const uint64_t n = order.size();
  if (labels.size() != n || batch == 0) {
    return invalid_argument("compute design effect: labels=" + std::to_string(labels.size()) +
                            " for samples=" + std::to_string(n) +
                            ", batch=" + std::to_string(batch));
  }
  HR_TRY_ASSIGN(const std::vector<uint64_t> sizes, class_sizes(labels));
  const auto classes = std::count_if(sizes.begin(), sizes.end(), [](auto s) { return s > 0; });
  std::vector<std::optional<double>> effects(windows.size());
  if (classes < 2) return effects;

  std::vector<WindowSums> sums;
  for (uint64_t m : windows) {
    sums.emplace_back(meaningful(n, batch, m) ? m * batch : n + 1, sizes, n);
  }
  OrderWalker walker(order);
  for (uint64_t p = 0; p < n; ++p) {
    const uint32_t label = labels[walker.at(p)];
    for (WindowSums& sum : sums) sum.add(label);
  }
  for (size_t i = 0; i < windows.size(); ++i) {
    if (!meaningful(n, batch, windows[i])) continue;
    const auto w = static_cast<double>(windows[i] * batch), all = static_cast<double>(n);
    effects[i] = sums[i].mean() / (static_cast<double>(classes - 1) * (all - w) / (all - 1));
  }
  return effects;
}

// A lane delivers its blocks one after another, one sample every `lanes` positions, and enters them
// at every offset alike: two of its samples d rounds apart are of one block with probability
// 1 - d / c, and a batch holds batch - d * lanes such pairs.
BlockPairs block_pairs(uint64_t samples, uint64_t block, uint64_t lanes, uint64_t batch) {
  HR_ASSERT(block > 0 && lanes > 0);
  const auto n = static_cast<double>(samples), c = static_cast<double>(block);
  const auto b = static_cast<double>(batch), rest = static_cast<double>(samples % block);
  BlockPairs pairs;
  for (uint64_t d = 1; d < block && d < (batch + lanes - 1) / lanes; ++d) {
    pairs.expected += (b - static_cast<double>(d * lanes)) * (1 - static_cast<double>(d) / c);
  }
  if (samples > 1) {
    const double in_blocks = static_cast<double>(samples / block) * c * (c - 1) + rest * (rest - 1);
    pairs.true_shuffle = b * (b - 1) / 2 * in_blocks / (n * (n - 1));
  }
  return pairs;
}

}  // namespace headrace
