// SPDX-License-Identifier: Apache-2.0
#include "fetch/batch_plan.h"

#include <algorithm>

namespace headrace {
namespace {
// A batch under "wrap" touches two epochs, and prefetch may reach a third.
constexpr size_t kOrdersKept = 4;
}  // namespace

Result<BatchPlan> BatchPlan::make(BatchPlanSpec spec) {
  spec.schedule.samples = spec.counts->total();
  HR_TRY_ASSIGN(Schedule schedule, Schedule::make(spec.schedule, spec.start));
  spec.order.epoch = schedule.position().epoch;
  HR_TRY_ASSIGN(Order first, Order::make(spec.counts, spec.order));
  BatchPlan plan(std::move(spec), schedule);
  plan.lanes_ = first.lanes();
  plan.orders_.emplace(first.spec().epoch, first);
  return plan;
}

const Order& BatchPlan::order(uint64_t epoch) {
  auto it = orders_.find(epoch);
  if (it == orders_.end()) {
    OrderSpec spec = spec_.order;
    spec.epoch = epoch;
    Result<Order> made = Order::make(spec_.counts, spec);
    HR_ASSERT(made.ok());  // the same counts and spec were accepted in make()
    if (orders_.size() >= kOrdersKept) orders_.erase(orders_.begin());
    it = orders_.emplace(epoch, *made).first;
  }
  return it->second;
}

void BatchPlan::rewind(const Mark& mark) {
  schedule_ = mark.schedule;
  batches_done_ = mark.batches_done;
  left_in_epoch_ = mark.batches_left_in_epoch;
  epochs_left_ = mark.epochs_left;
}

bool BatchPlan::next(std::vector<PlanRow>& rows, Position& after) {
  if (spec_.batches_max != 0 && batches_done_ == spec_.batches_max) return false;
  while (left_in_epoch_ == 0) {
    if (epochs_left_ <= 1) return false;
    --epochs_left_;
    // Under "wrap" the next epoch goes on where the last batch ended.
    if (spec_.schedule.remainder != Remainder::kWrap) schedule_.next_epoch();
    left_in_epoch_ = schedule_.batches_left_in_epoch();
    if (left_in_epoch_ == 0) return false;
  }
  rows_.clear();
  if (!schedule_.next(rows_, after)) return false;
  --left_in_epoch_;
  ++batches_done_;
  rows.clear();
  rows.reserve(rows_.size());
  uint64_t epoch = ~uint64_t{0};
  const Order* order_now = nullptr;
  for (const Row& row : rows_) {
    if (row.epoch != epoch) {
      epoch = row.epoch;
      order_now = &order(epoch);
    }
    const Order::Place place = order_now->place(row.position);
    rows.push_back({row.epoch, row.position, place.segment, place.index, row.valid});
  }
  return true;
}

void BatchPlan::wanted(const PlanRow& row, std::vector<uint32_t>& out) {
  out.assign(1, row.index);
  if (!row.valid) return;
  const Order& o = order(row.epoch);
  const uint64_t size = o.segment_size(row.segment);
  const bool in_main = row.position < o.main_size();
  const uint64_t stride = o.spec().shuffle == Shuffle::kNone ? 1
                          : in_main                          ? o.lanes()
                                    : std::min(o.lanes(), o.size() - o.main_size());
  // A lane whose stride the ranks divide is one rank's alone.
  const bool mine_alone = in_main && stride % spec_.schedule.world == 0;
  uint64_t position = row.position;
  for (uint64_t k = row.index + 1; k < size; ++k) {
    position += stride;
    if (!mine_alone) {
      if (position >= o.size()) break;
      if (rank_of(row.epoch, position, o.size(), spec_.schedule.world) != spec_.schedule.rank) continue;
      const Order::Place place = o.place(position);
      if (place.segment != row.segment || place.index != k) continue;
    }
    out.push_back(static_cast<uint32_t>(k));
  }
}

}  // namespace headrace
