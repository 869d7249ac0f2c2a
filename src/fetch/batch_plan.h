// SPDX-License-Identifier: Apache-2.0
//
// BatchPlan: the rows of this rank's batches, one batch after another, with the segment each row
// comes from. Joins the pure halves of plan/ (Schedule or MixtureSchedule: which positions of which
// source; Order, Selection, WeightedDraws: which samples) and can be set back to any batch it has
// passed, which is how the engine gives memory back.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include "base/result.h"
#include "fetch/source_order.h"
#include "plan/mixture.h"
#include "plan/schedule.h"

namespace headrace {

struct StreamSnapshot;  // fetch/stream_shuffle.h

// Where a job stands after a batch: the numbers of the state.
struct PlanPoint {
  Position at;                                  // of the one source; of a mixture: epoch and position, its own
  std::shared_ptr<const MixturePoint> mixture;  // null for one source
  Position begin;                               // where the batch began, over all ranks
  std::shared_ptr<const StreamSnapshot> streams;  // of the stream order only
};

struct BatchPlanSpec {
  std::vector<SourceSpec> sources;     // one, or those of the mixture
  ScheduleSpec schedule;               // its samples is not used; of a mixture: batch, rank and world only
  Position start;                      // of one source
  std::optional<MixtureSpec> mixture;  // its sources' samples, batch, rank and world are filled in here
  MixturePoint mixture_start;
  uint64_t epochs = 1;       // epochs' ends to run up to
  uint64_t batches_max = 0;  // 0 = no limit; those of other shares count
  // Every share_count-th batch only, the share-th first: processes that make a rank's batches in turn.
  uint64_t share = 0, share_count = 1;
};

struct PlanRow {
  uint64_t epoch = 0;
  uint64_t position = 0;
  uint64_t segment = 0;
  uint32_t index = 0;  // in the segment's delivery order
  bool valid = true;
  uint32_t source = 0;
};

class BatchPlan {
 public:
  static Result<BatchPlan> make(BatchPlanSpec spec);

  using AnySchedule = std::variant<Schedule, MixtureSchedule>;
  // A point in the sequence of batches, to come back to.
  struct Mark {
    AnySchedule schedule;
    uint64_t batches_done;
    uint64_t batches_left_in_epoch;
    uint64_t epochs_left;
    Position begin;
  };
  Mark mark() const { return {schedule_, batches_done_, left_in_epoch_, epochs_left_, begin_}; }
  void rewind(const Mark& mark);

  // The next batch's rows, by position (of a mixture: by their place in the batch), and the state after it. False: the
  // pass is over.
  bool next(std::vector<PlanRow>& rows, PlanPoint& after);

  // The row's segment: its samples, in delivery order.
  void samples(const PlanRow& row, std::vector<uint64_t>& out) {
    sources_[row.source].samples(row.epoch, row.segment, out);
  }
  // Indices >= row.index of the row's segment that this rank will be given later in the epoch,
  // row.index first; `out` is replaced. Rows that only repeat (valid = false) want just themselves.
  // May leave out some (the tail's last round; what lies beyond a change of a mixture's weights): they come up as rows
  // of their own.
  void wanted(const PlanRow& row, std::vector<uint32_t>& out);

  uint64_t lanes() const;  // of all sources
  uint64_t lane_samples(uint32_t source) const { return sources_[source].lane_samples(); }
  bool in_tail(const PlanRow& row) { return sources_[row.source].in_tail(row.epoch, row.position); }
  uint64_t rows_per_batch() const { return batch_ / world_; }
  uint32_t world() const { return world_; }

 private:
  explicit BatchPlan(AnySchedule schedule) : schedule_(std::move(schedule)) {}
  bool pass_batch(PlanPoint& after);
  bool is_mine(const PlanRow& row, uint64_t position) const;
  bool in_my_share(const PlanRow& row, uint64_t position) const;

  AnySchedule schedule_;
  std::vector<SourceOrder> sources_;
  uint64_t batch_ = 0, batches_max_ = 0, share_ = 0, share_count_ = 1;
  uint32_t rank_ = 0, world_ = 1;
  bool wraps_ = false;  // the next epoch goes on where the last batch ended
  uint64_t batches_done_ = 0;
  uint64_t left_in_epoch_ = 0;
  uint64_t epochs_left_ = 1;
  Position begin_;  // of the last batch that next() passed
  std::vector<Row> rows_;
};

}  // namespace headrace
