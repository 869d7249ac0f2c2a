// SPDX-License-Identifier: Apache-2.0
#include "fetch/batch_plan.h"

#include <algorithm>

namespace headrace {
namespace {

bool next_rows(Schedule& schedule, std::vector<Row>& rows, PlanPoint& after) {
  return schedule.next(rows, after.at);
}

bool next_rows(MixtureSchedule& schedule, std::vector<Row>& rows, PlanPoint& after) {
  MixturePoint point;
  if (!schedule.next(rows, point)) return false;
  after.at = {point.epoch, point.position, 0};
  after.mixture = std::make_shared<const MixturePoint>(std::move(point));
  return true;
}

Position position_of(const Schedule& schedule) { return schedule.position(); }
Position position_of(const MixtureSchedule& schedule) { return {schedule.point().epoch, schedule.point().position, 0}; }

}  // namespace

Result<BatchPlan> BatchPlan::make(BatchPlanSpec spec) {
  HR_ASSERT(!spec.sources.empty() && (spec.mixture.has_value() || spec.sources.size() == 1));
  std::vector<SourceOrder> sources;
  for (SourceSpec& source : spec.sources) {
    HR_TRY_ASSIGN(SourceOrder made, SourceOrder::make(std::move(source)));
    sources.push_back(std::move(made));
  }
  std::optional<AnySchedule> schedule;
  if (spec.mixture) {
    MixtureSpec& mixture = *spec.mixture;
    mixture.batch = spec.schedule.batch;
    mixture.rank = spec.schedule.rank;
    mixture.world = spec.schedule.world;
    HR_ASSERT(mixture.sources.size() == sources.size());
    for (size_t i = 0; i < sources.size(); ++i) mixture.sources[i].samples = sources[i].size();
    HR_TRY_ASSIGN(MixtureSchedule made, MixtureSchedule::make(mixture, std::move(spec.mixture_start)));
    schedule.emplace(std::move(made));
  } else {
    spec.schedule.samples = sources[0].size();
    HR_TRY_ASSIGN(Schedule made, Schedule::make(spec.schedule, spec.start));
    schedule.emplace(std::move(made));
  }
  BatchPlan plan(*std::move(schedule));
  plan.sources_ = std::move(sources);
  plan.batch_ = spec.schedule.batch;
  plan.rank_ = spec.schedule.rank;
  plan.world_ = spec.schedule.world;
  plan.wraps_ = !spec.mixture && spec.schedule.remainder == Remainder::kWrap;
  plan.batches_max_ = spec.batches_max;
  HR_ASSERT(spec.share < spec.share_count);
  plan.share_ = spec.share;
  plan.share_count_ = spec.share_count;
  plan.epochs_left_ = spec.epochs;
  plan.left_in_epoch_ = std::visit([](const auto& s) { return s.batches_left_in_epoch(); }, plan.schedule_);
  return plan;
}

void BatchPlan::rewind(const Mark& mark) {
  schedule_ = mark.schedule;
  batches_done_ = mark.batches_done;
  left_in_epoch_ = mark.batches_left_in_epoch;
  epochs_left_ = mark.epochs_left;
  begin_ = mark.begin;
}

// The next batch, this share's or not: its rows to rows_.
bool BatchPlan::pass_batch(PlanPoint& after) {
  if (batches_max_ != 0 && batches_done_ == batches_max_) return false;
  while (left_in_epoch_ == 0) {
    if (epochs_left_ <= 1) return false;
    --epochs_left_;
    if (!wraps_) std::visit([](auto& s) { s.next_epoch(); }, schedule_);
    left_in_epoch_ = std::visit([](const auto& s) { return s.batches_left_in_epoch(); }, schedule_);
    if (left_in_epoch_ == 0) return false;
  }
  rows_.clear();
  begin_ = after.begin = std::visit([](const auto& s) { return position_of(s); }, schedule_);
  if (!std::visit([&](auto& s) { return next_rows(s, rows_, after); }, schedule_)) return false;
  --left_in_epoch_;
  ++batches_done_;
  return true;
}

bool BatchPlan::next(std::vector<PlanRow>& rows, PlanPoint& after) {
  do {
    if (!pass_batch(after)) return false;
  } while ((batches_done_ - 1) % share_count_ != share_);
  rows.clear();
  rows.reserve(rows_.size());
  for (const Row& row : rows_) {
    const Order::Place place = sources_[row.source].place(row.epoch, row.position);
    rows.push_back({row.epoch, row.position, place.segment, place.index, row.valid, row.source});
  }
  return true;
}

// Whether the batch that will have this later position of the row's epoch is one of this share.
bool BatchPlan::in_my_share(const PlanRow& row, uint64_t position) const {
  if (share_count_ == 1) return true;
  if (std::holds_alternative<MixtureSchedule>(schedule_)) return false;  // not known: a row of its own then
  const uint64_t behind = (row.epoch - begin_.epoch) * sources_[0].size() + position - begin_.position;
  return (batches_done_ - 1 + behind / batch_) % share_count_ == share_;
}

bool BatchPlan::is_mine(const PlanRow& row, uint64_t position) const {
  if (const auto* mixture = std::get_if<MixtureSchedule>(&schedule_)) {
    return mixture->rank_of(row.source, row.epoch, position) == rank_;
  }
  return rank_of(row.epoch, position, sources_[0].size(), world_) == rank_;
}

void BatchPlan::wanted(const PlanRow& row, std::vector<uint32_t>& out) {
  out.assign(1, row.index);
  if (!row.valid) return;
  SourceOrder& source = sources_[row.source];
  const uint64_t size = source.segment_size(row.epoch, row.segment);
  const uint64_t stride = source.stride(row.epoch, row.position);
  const bool in_main = source.in_main(row.epoch, row.position);
  // A lane whose stride the ranks divide is one rank's alone.
  const bool mine_alone = share_count_ == 1 && in_main && stride % world_ == 0 &&
                          std::holds_alternative<Schedule>(schedule_);
  uint64_t position = row.position;
  for (uint64_t k = row.index + 1; k < size; ++k) {
    position += stride;
    if (!mine_alone) {
      if (position >= source.size()) break;
      if (!is_mine(row, position) || !in_my_share(row, position)) continue;
      const Order::Place place = source.place(row.epoch, position);
      if (place.segment != row.segment || place.index != k) continue;
    }
    out.push_back(static_cast<uint32_t>(k));
  }
}

uint64_t BatchPlan::lanes() const {
  uint64_t sum = 0;
  for (const SourceOrder& source : sources_) sum += source.lanes();
  return sum;
}

}  // namespace headrace
