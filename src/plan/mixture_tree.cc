// SPDX-License-Identifier: Apache-2.0
//
// The weights of a mixture and the tree that deals units to sources (mixture.h).
#include <algorithm>
#include <cmath>

#include "plan/integers.h"
#include "plan/mixture.h"

namespace headrace {
namespace {

using Wide = unsigned __int128;

// Units times weights must stay exact in 128 bits: 2 * 2^50 * (1,024 * 2^32) = 2^93.
constexpr double kWhole = 4294967296.0;  // 2^32: the parts that a sum of weights is cut into

std::string number(uint64_t value) { return std::to_string(value); }

Status bad_weight(size_t source, double weight, const std::string& cause) {
  return invalid_argument("weigh mixture: source " + number(source) + ": " + cause +
                          ": weight=" + std::to_string(weight));
}

}  // namespace

std::string_view source_end_name(SourceEnd at_end) {
  switch (at_end) {
    case SourceEnd::kRepeat:
      return "repeat";
    case SourceEnd::kStop:
      return "stop";
    case SourceEnd::kEnd:
      return "end";
  }
  return "";
}

Result<SourceEnd> parse_source_end(std::string_view name) {
  for (SourceEnd end : {SourceEnd::kRepeat, SourceEnd::kStop, SourceEnd::kEnd}) {
    if (name == source_end_name(end)) return end;
  }
  return invalid_argument("read at_end: unknown \"" + std::string(name.substr(0, 40)) +
                          "\"; choose repeat, stop or end");
}

Result<std::vector<uint64_t>> mixture_weights(std::span<const double> weights) {
  double sum = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    if (!std::isfinite(weights[i]) || weights[i] < 0) {
      return bad_weight(i, weights[i], "must be finite and not negative");
    }
    sum += weights[i];
  }
  if (sum == 0) {
    return invalid_argument("weigh mixture: no source has a weight above 0: sources=" +
                            number(weights.size()));
  }
  if (!std::isfinite(sum * kWhole)) {
    return invalid_argument("weigh mixture: the sum of the weights is too large; scale them down");
  }
  std::vector<uint64_t> whole;
  whole.reserve(weights.size());
  for (size_t i = 0; i < weights.size(); ++i) {
    if (weights[i] > 0 && weights[i] < sum / kWhole) {
      return bad_weight(i, weights[i], "below 2^-32 of the sum; say 0 to leave it out");
    }
    const double scaled = kWhole * weights[i] / sum;
    whole.push_back(weights[i] == 0 ? 0 : std::max<uint64_t>(1, std::floor(scaled + 0.5)));
  }
  return whole;
}

Result<std::vector<double>> weights_by_temperature(std::span<const uint64_t> sizes,
                                                   double temperature) {
  if (!std::isfinite(temperature) || temperature <= 0) {
    return invalid_argument("weigh mixture: temperature=" + std::to_string(temperature) +
                            ", must be finite and above 0");
  }
  // By logarithms, from the largest down: nothing overflows, however small the temperature.
  const uint64_t largest = sizes.empty() ? 0 : *std::max_element(sizes.begin(), sizes.end());
  if (largest == 0) {
    return invalid_argument("weigh mixture: no source has a sample: sources=" +
                            number(sizes.size()));
  }
  std::vector<double> weights;
  double sum = 0;
  for (const uint64_t size : sizes) {
    const double part = static_cast<double>(size) / static_cast<double>(largest);
    weights.push_back(size == 0 ? 0 : std::exp(std::log(part) / temperature));
    sum += weights.back();
  }
  for (double& weight : weights) weight /= sum;
  return weights;
}

uint64_t mixture_seed(uint64_t seed, uint64_t id) {
  return order_key(seed, 0, OrderTag::kMixtureSeed, id);
}

Result<MixtureTree> MixtureTree::make(std::span<const uint64_t> weights) {
  if (weights.size() > kMixtureSourcesMax) {
    return invalid_argument("make mixture: sources=" + number(weights.size()) + ", at most " +
                            number(kMixtureSourcesMax));
  }
  MixtureTree tree;
  tree.leaf_.assign(weights.size(), kNone);
  std::vector<uint32_t> loose;  // nodes without a parent yet
  for (uint32_t source = 0; source < weights.size(); ++source) {
    if (weights[source] > kMixtureWeightMax) {
      return invalid_argument("make mixture: source " + number(source) + ": weight=" +
                              number(weights[source]) + ", at most " + number(kMixtureWeightMax));
    }
    if (weights[source] == 0) continue;
    tree.leaf_[source] = static_cast<uint32_t>(tree.nodes_.size());
    loose.push_back(tree.leaf_[source]);
    tree.nodes_.push_back({.weight = weights[source], .source = source});
  }
  if (loose.empty()) return invalid_argument("make mixture: no source has a weight above 0");

  const auto take_least = [&] {
    const auto least = std::min_element(loose.begin(), loose.end(), [&](uint32_t a, uint32_t b) {
      const Node &x = tree.nodes_[a], &y = tree.nodes_[b];
      return x.weight != y.weight ? x.weight < y.weight : x.source < y.source;
    });
    const uint32_t node = *least;
    loose.erase(least);
    return node;
  };
  while (loose.size() > 1) {
    const uint32_t left = take_least(), right = take_least();
    const auto joined = static_cast<uint32_t>(tree.nodes_.size());
    Node &a = tree.nodes_[left], &b = tree.nodes_[right];
    a.parent = b.parent = joined;
    const Node node{a.weight + b.weight,         a.weight, left, right, kNone,
                    std::min(a.source, b.source)};
    tree.nodes_.push_back(node);
    loose.push_back(joined);
  }
  return tree;
}

// Of a prefix of `units` at the node, the left child's: the nearest integer to its part.
uint64_t MixtureTree::left_of(const Node& node, uint64_t units) {
  const Wide twice = Wide{2} * units * node.left_weight + node.weight;
  return static_cast<uint64_t>(twice / (Wide{2} * node.weight));
}

uint32_t MixtureTree::source_of(uint64_t unit) const {
  HR_ASSERT(!nodes_.empty() && unit < kMixtureUnitsMax);
  const Node* node = &nodes_.back();
  while (node->left != kNone) {
    const uint64_t left = left_of(*node, unit);
    const bool goes_left = left_of(*node, unit + 1) > left;
    unit = goes_left ? left : unit - left;
    node = &nodes_[goes_left ? node->left : node->right];
  }
  return node->source;
}

uint64_t MixtureTree::count(uint32_t source, uint64_t units) const {
  HR_ASSERT(source < leaf_.size() && units <= kMixtureUnitsMax);
  if (leaf_[source] == kNone) return 0;
  uint32_t path[kMixtureSourcesMax];  // from the leaf up, without the root
  size_t depth = 0;
  for (uint32_t at = leaf_[source]; nodes_[at].parent != kNone; at = nodes_[at].parent) {
    path[depth++] = at;
  }
  uint32_t above = static_cast<uint32_t>(nodes_.size() - 1);
  while (depth-- > 0) {
    const uint64_t left = left_of(nodes_[above], units);
    units = path[depth] == nodes_[above].left ? left : units - left;
    above = path[depth];
  }
  return units;
}

// Going up from the leaf: the least prefix of the parent that gives the child t units (t = k + 1).
// left(u) >= t  <=>  2 u w_left + w >= 2 w t        <=>  u >= w (2t - 1) / (2 w_left)
// right(u) >= t <=>  (2 u w_right - w) / (2 w) > t - 1  <=>  u > w (2t - 1) / (2 w_right)
uint64_t MixtureTree::unit_of(uint32_t source, uint64_t k) const {
  HR_ASSERT(source < leaf_.size() && leaf_[source] != kNone && k < kMixtureUnitsMax);
  Wide t = Wide{k} + 1;
  for (uint32_t at = leaf_[source]; nodes_[at].parent != kNone; at = nodes_[at].parent) {
    const Node& above = nodes_[nodes_[at].parent];
    const Wide weighed = (2 * t - 1) * above.weight, part = Wide{2} * nodes_[at].weight;
    t = at == above.left ? (weighed + part - 1) / part : weighed / part + 1;
    if (t > kMixtureUnitsMax) return kMixtureUnitsMax;  // it only grows, and must not overflow
  }
  return static_cast<uint64_t>(t - 1);
}

MixtureTree::Walk::Walk(const MixtureTree& tree, uint64_t units)
    : tree_(tree), remainder_(tree.nodes_.size()) {
  HR_ASSERT(!tree.nodes_.empty() && units <= kMixtureUnitsMax);
  std::vector<uint64_t> prefix(tree.nodes_.size());
  prefix.back() = units;
  for (size_t i = tree.nodes_.size(); i-- > 0;) {  // children stand before their parents
    const Node& node = tree.nodes_[i];
    if (node.left == kNone) continue;
    const uint64_t left = left_of(node, prefix[i]);
    const Wide twice = Wide{2} * prefix[i] * node.left_weight + node.weight;
    remainder_[i] = static_cast<uint64_t>(twice - Wide{2} * node.weight * left);
    prefix[node.left] = left;
    prefix[node.right] = prefix[i] - left;
  }
}

uint32_t MixtureTree::Walk::next() {
  size_t i = tree_.nodes_.size() - 1;
  while (tree_.nodes_[i].left != kNone) {
    const Node& node = tree_.nodes_[i];
    const uint64_t sum = remainder_[i] + 2 * node.left_weight;  // below 4 * 2^42
    const bool goes_left = sum >= 2 * node.weight;
    remainder_[i] = goes_left ? sum - 2 * node.weight : sum;
    i = goes_left ? node.left : node.right;
  }
  return tree_.nodes_[i].source;
}

}  // namespace headrace
