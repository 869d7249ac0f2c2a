// SPDX-License-Identifier: Apache-2.0
#include "fetch/source_order.h"

#include <algorithm>
#include <string>
#include <tuple>

namespace headrace {
namespace {
// A batch under "wrap" touches two epochs, and prefetch may reach a third.
constexpr size_t kOrdersKept = 4;

Status wrong_size(const char* what, uint64_t has, uint64_t samples) {
  return invalid_argument(std::string("plan batches: ") + what + " " + std::to_string(has) +
                          " samples, the data set has " + std::to_string(samples));
}
}  // namespace

Result<SourceOrder> SourceOrder::make(SourceSpec spec) {
  const uint64_t samples = spec.counts->total();
  if (spec.selection && !spec.draws.empty()) {
    return invalid_argument("plan batches: weights over a subset: give the left-out samples the weight 0 instead");
  }
  SourceOrder out(std::move(spec));
  if (out.drawn()) {
    for (const DrawsFrom& from : out.spec_.draws) {
      if (from.draws->samples() != samples) return wrong_size("weights of", from.draws->samples(), samples);
    }
    out.size_ = out.spec_.draws_epoch != 0 ? out.spec_.draws_epoch : samples;
    return out;
  }
  out.counts_ = out.spec_.units ? out.spec_.units : out.spec_.counts;
  if (out.spec_.selection) {
    if (out.spec_.selection->samples() != samples) {
      return wrong_size("a selection of", out.spec_.selection->samples(), samples);
    }
    HR_TRY_ASSIGN(ShardCounts selected, out.spec_.selection->counts(*out.counts_));
    out.counts_ = std::make_shared<const ShardCounts>(std::move(selected));
  }
  OrderSpec first = out.spec_.order;
  first.epoch = 0;
  HR_TRY_ASSIGN(Order order, out.spec_.units ? Order::make_units(out.counts_, first) : Order::make(out.counts_, first));
  out.size_ = order.size();
  out.lanes_ = order.lanes();
  if (order.spec().shuffle != Shuffle::kNone) {
    const uint64_t block = order.units() ? order.size() / order.blocks() : order.block();
    out.lane_samples_ = order.lanes() * std::max<uint64_t>(1, block);
  }
  out.orders_.emplace(0, std::move(order));
  return out;
}

const Order& SourceOrder::order(uint64_t epoch) {
  auto it = orders_.find(epoch);
  if (it == orders_.end()) {
    Order made = orders_.begin()->second.for_epoch(epoch);
    if (orders_.size() >= kOrdersKept) orders_.erase(orders_.begin());
    it = orders_.emplace(epoch, std::move(made)).first;
  }
  return it->second;
}

Order::Place SourceOrder::place(uint64_t epoch, uint64_t position) {
  if (drawn()) return {position, 0, 0};
  return order(epoch).place(position);
}

void SourceOrder::samples(uint64_t epoch, uint64_t segment, std::vector<uint64_t>& out) {
  if (drawn()) {
    const auto later = std::ranges::upper_bound(spec_.draws, std::tuple(epoch, segment), {}, [](const DrawsFrom& from) {
      return std::tuple(from.epoch, from.position);
    });
    HR_ASSERT(later != spec_.draws.begin());
    out.assign(1, std::prev(later)->draws->draw(epoch, segment));
    return;
  }
  order(epoch).samples(segment, out);
  if (!spec_.selection) return;
  for (uint64_t& sample : out) sample = spec_.selection->sample(sample);
}

uint64_t SourceOrder::stride(uint64_t epoch, uint64_t position) {
  if (drawn()) return 1;
  const Order& o = order(epoch);
  if (o.spec().shuffle == Shuffle::kNone) return 1;
  return o.units() || position < o.main_size() ? o.lanes() : std::min(o.lanes(), o.size() - o.main_size());
}

}  // namespace headrace
