// SPDX-License-Identifier: Apache-2.0
#include "model_job.h"

#include <algorithm>
#include <memory>
#include <tuple>

namespace headrace::sim::model {
namespace {

constexpr uint64_t kTagMixture = 3;
using Wide = unsigned __int128;

struct Node {
  uint64_t weight = 0;
  uint32_t lowest = 0;  // source
  std::shared_ptr<Node> left, right;
};

std::shared_ptr<Node> huffman(const std::vector<uint64_t>& weights) {
  std::vector<std::shared_ptr<Node>> nodes;
  for (uint32_t i = 0; i < weights.size(); ++i) {
    if (weights[i] > 0) nodes.push_back(std::make_shared<Node>(Node{weights[i], i, nullptr, nullptr}));
  }
  while (nodes.size() > 1) {
    std::sort(nodes.begin(), nodes.end(), [](const auto& a, const auto& b) {
      return std::tie(a->weight, a->lowest) < std::tie(b->weight, b->lowest);
    });
    auto joined = std::make_shared<Node>(Node{nodes[0]->weight + nodes[1]->weight,
                                              std::min(nodes[0]->lowest, nodes[1]->lowest), nodes[0], nodes[1]});
    nodes.erase(nodes.begin(), nodes.begin() + 2);
    nodes.insert(nodes.begin(), std::move(joined));
  }
  return nodes[0];
}

void deal(const Node& node, uint64_t units, std::vector<uint64_t>& counts) {
  if (!node.left) {
    counts[node.lowest] = units;
    return;
  }
  const auto left = static_cast<uint64_t>((Wide{2} * units * node.left->weight + node.weight) / (Wide{2} * node.weight));
  deal(*node.left, left, counts);
  deal(*node.right, units - left, counts);
}

bool any(const std::vector<uint64_t>& weights) {
  return std::any_of(weights.begin(), weights.end(), [](uint64_t w) { return w > 0; });
}

}  // namespace

std::vector<uint64_t> unit_counts(const std::vector<uint64_t>& weights, uint64_t units) {
  std::vector<uint64_t> counts(weights.size());
  deal(*huffman(weights), units, counts);
  return counts;
}

Point Job::first() const {
  Point point;
  if (!mixture) return point;
  point.sources.resize(sources.size());
  point.weights = changes.at(0);
  return point;
}

bool Job::over(const Point& at) const { return mixture && !any(at.weights); }

bool Job::takes(const Point& at, uint64_t batch, uint64_t world) const {
  if (batch % world != 0) return false;
  if (!mixture) return remainder != "drop" || batch <= sources[0].size();
  if (batch % group != 0 || batch > epoch_samples) return false;
  Wide sum = 0;
  for (const uint64_t w : at.weights) sum += w;
  for (size_t i = 0; i < sources.size(); ++i) {
    const uint64_t n = sources[i].size();
    if (at_end[i] == "end" && n < batch) return false;
    if (at_end[i] == "stop" && at.sources[i] == std::pair<uint64_t, uint64_t>() && sum > 0 &&
        static_cast<uint64_t>(Wide{batch / group} * at.weights[i] / sum) * group > n) {
      return false;
    }
  }
  return true;
}

Pass::Pass(Job& job, const Point& at, uint64_t batch, uint64_t world, uint64_t epochs)
    : job_(job), batch_(batch), world_(world), epochs_left_(epochs) {
  at_ = loaded(at);
  epoch_ = at_.epoch;
}

Point Pass::epoch_start(uint64_t epoch) const {
  Point out = at_;
  out.epoch = epoch;
  out.position = out.drop = 0;
  if (!job_.mixture && job_.remainder == "drop") out.position = out.drop = job_.sources[0].size() % batch_;
  return out;
}

// A state of which nothing of the epoch was delivered gets this batch size's D.
Point Pass::loaded(Point at) const {
  if (job_.mixture) {
    if (ready(at)) return at;
    if (const Point settled = settle(at); job_.over(settled)) return settled;
    ++at.epoch;
    at.position = 0;
    return at;
  }
  return at.position == 0 || at.position == at.drop ? epoch_start(at.epoch) : at;
}

// The source of each unit of the batch at the point.
std::vector<uint32_t> Pass::dealt(const Point& at) const {
  std::vector<uint32_t> out;
  std::vector<uint64_t> before = unit_counts(at.weights, at.units);
  for (uint64_t u = 0; u < batch_ / job_.group; ++u) {
    const std::vector<uint64_t> after = unit_counts(at.weights, at.units + u + 1);
    for (uint32_t i = 0; i < after.size(); ++i) {
      if (after[i] != before[i]) out.push_back(i);
    }
    before = after;
  }
  return out;
}

// The sources of this kind that have fewer samples left than the next batch takes of them.
std::vector<uint32_t> Pass::lacking(const Point& at, const char* at_end) const {
  std::vector<uint32_t> out;
  const std::vector<uint32_t> units = dealt(at);
  for (uint32_t i = 0; i < job_.sources.size(); ++i) {
    if (job_.at_end[i] != at_end) continue;
    const auto [epoch, position] = at.sources[i];
    const bool stopped = job_.at_end[i] == "stop" && epoch > 0;
    const uint64_t left = stopped ? 0 : job_.sources[i].size() - position;
    const auto quota = static_cast<uint64_t>(std::count(units.begin(), units.end(), i)) * job_.group;
    if (quota > left) out.push_back(i);
  }
  return out;
}

// A change of weights that falls here, and the sources that stop.
Point Pass::settle(Point at) const {
  if (const auto change = job_.changes.find(at.steps); change != job_.changes.end()) {
    at.weights = change->second;
    at.units = 0;
    for (uint32_t i = 0; i < job_.sources.size(); ++i) {
      if (job_.at_end[i] == "stop" && at.sources[i].first > 0) at.weights[i] = 0;
    }
  }
  for (bool stops = true; stops && any(at.weights);) {
    stops = false;
    for (const uint32_t i : lacking(at, "stop")) {
      if (at.weights[i] == 0) continue;
      at.weights[i] = 0;
      at.sources[i] = {1, 0};
      stops = true;
    }
    if (stops) at.units = 0;
  }
  return at;
}

// What happens to a mixture before a batch is dealt; nullopt: its epoch, or all of it, is over.
std::optional<Point> Pass::ready(Point at) const {
  at = settle(at);
  if (!any(at.weights) || at.position + batch_ > job_.epoch_samples) return std::nullopt;
  const std::vector<uint32_t> ended = lacking(at, "end");
  if (!ended.empty() && at.position > 0) return std::nullopt;
  for (const uint32_t i : ended) at.sources[i] = {at.sources[i].first + 1, 0};
  return at;
}

std::optional<std::vector<std::vector<Row>>> Pass::next() {
  const auto has_batch = [this] {
    if (at_.epoch != epoch_) return false;
    if (job_.mixture) return ready(at_).has_value();
    return job_.remainder != "drop" || job_.sources[0].size() - at_.position >= batch_;
  };
  if (!has_batch()) {
    if (epochs_left_ <= 1 || (job_.mixture && job_.over(settle(at_)))) return std::nullopt;
    --epochs_left_;
    if (at_.epoch == epoch_) at_ = epoch_start(epoch_ + 1);
    epoch_ = at_.epoch;
    if (!has_batch()) return std::nullopt;
  }
  begin_ = at_;
  auto rows = job_.mixture ? next_of_mixture() : next_of_one();
  for (auto& rank : rows) {
    for (Row& row : rank) row.sample = job_.sources[row.source].sample(row.epoch, row.position);
  }
  return rows;
}

Point Pass::next_start() const {
  if (job_.mixture) return loaded(at_);
  const bool none_left = job_.remainder == "drop" && job_.sources[0].size() - at_.position < batch_;
  return none_left ? epoch_start(at_.epoch + 1) : at_;
}

std::vector<std::vector<Row>> Pass::next_of_one() {
  const uint64_t n = job_.sources[0].size(), left = n - at_.position;
  const std::string& rule = job_.remainder;
  const uint64_t taken = rule == "drop" || rule == "wrap" ? batch_ : std::min(batch_, left);
  std::vector<std::vector<Row>> ranks(world_);
  for (uint64_t i = 0; i < taken; ++i) {
    const uint64_t running = at_.epoch * n + at_.position + i;
    ranks[running % world_].push_back({0, running / n, running % n, true, 0});
  }
  if (rule == "pad") pad(ranks);
  const uint64_t end = at_.epoch * n + at_.position + taken;
  if (rule == "wrap") {
    if (end / n != at_.epoch) at_.drop = 0;
    at_.epoch = end / n;
    at_.position = end % n;
  } else if (left == taken || (rule == "drop" && left - taken < batch_)) {
    at_ = epoch_start(at_.epoch + 1);
  } else {
    at_.position += taken;
  }
  return ranks;
}

// Each rank's own rows of the epoch again, from its start; the epoch's where it has none.
void Pass::pad(std::vector<std::vector<Row>>& ranks) const {
  const uint64_t n = job_.sources[0].size();
  for (uint64_t rank = 0; rank < world_; ++rank) {
    std::vector<uint64_t> own, all;
    for (uint64_t p = at_.drop; p < n; ++p) {
      all.push_back(p);
      if ((at_.epoch * n + p) % world_ == rank) own.push_back(p);
    }
    const std::vector<uint64_t>& from = own.empty() ? all : own;
    for (uint64_t i = 0; ranks[rank].size() < batch_ / world_; ++i) {
      ranks[rank].push_back({0, at_.epoch, from[i % from.size()], false, 0});
    }
  }
}

std::vector<std::vector<Row>> Pass::next_of_mixture() {
  at_ = *ready(at_);
  const std::vector<uint32_t> units = dealt(at_);
  const uint64_t g = job_.group;
  const std::vector<uint64_t> place = shuffled(units.size(), key(job_.seed, 0, kTagMixture, at_.steps));
  std::vector<Row> rows(batch_);
  for (uint64_t v = 0; v < units.size(); ++v) {
    auto& [epoch, position] = at_.sources[units[v]];
    const uint64_t n = job_.sources[units[v]].size();
    for (uint64_t j = 0; j < g; ++j) {
      rows[place[v] * g + j] = {units[v], epoch, position, true, 0};
      ++position;
      // An `end` source that was used up stands at its end until the mixture's epoch ends.
      if (position == n && job_.at_end[units[v]] != "end") {
        ++epoch;
        position = 0;
      }
    }
  }
  at_.units += units.size();
  ++at_.steps;
  at_.position += batch_;
  if (at_.position + batch_ > job_.epoch_samples) {
    ++at_.epoch;
    at_.position = 0;
  }
  std::vector<std::vector<Row>> ranks(world_);
  for (uint64_t i = 0; i < batch_; ++i) ranks[i % world_].push_back(rows[i]);
  return ranks;
}

}  // namespace headrace::sim::model
