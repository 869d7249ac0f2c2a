// SPDX-License-Identifier: Apache-2.0
//
// BatchPlan: the rows of this rank's batches, one batch after another, with the segment each row
// comes from. Joins the two pure halves of plan/ (Schedule: which positions; Order: which samples)
// and can be set back to any batch it has passed, which is how the engine gives memory back.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "base/result.h"
#include "plan/order.h"
#include "plan/schedule.h"
#include "plan/shard_counts.h"

namespace headrace {

struct BatchPlanSpec {
  std::shared_ptr<const ShardCounts> counts;
  OrderSpec order;        // its epoch is not used
  ScheduleSpec schedule;  // its samples is not used
  Position start;
  uint64_t epochs = 1;       // epochs' ends to run up to
  uint64_t batches_max = 0;  // 0 = no limit
};

struct PlanRow {
  uint64_t epoch = 0;
  uint64_t position = 0;
  uint64_t segment = 0;
  uint32_t index = 0;  // in the segment's delivery order
  bool valid = true;
};

class BatchPlan {
 public:
  static Result<BatchPlan> make(BatchPlanSpec spec);

  // A point in the sequence of batches, to come back to.
  struct Mark {
    Schedule schedule;
    uint64_t batches_done;
    uint64_t batches_left_in_epoch;
    uint64_t epochs_left;
  };
  Mark mark() const { return {schedule_, batches_done_, left_in_epoch_, epochs_left_}; }
  void rewind(const Mark& mark);

  // The next batch's rows, by position, and the state after it. False: the pass is over.
  bool next(std::vector<PlanRow>& rows, Position& after);

  const Order& order(uint64_t epoch);
  // Indices >= row.index of the row's segment that this rank will be given later in the epoch,
  // row.index first; `out` is replaced. Rows that only repeat (valid = false) want just themselves.
  // May leave out a few of the tail's last round: they come up as rows of their own.
  void wanted(const PlanRow& row, std::vector<uint32_t>& out);

  uint64_t lanes() const { return lanes_; }
  uint64_t rows_per_batch() const { return schedule_.rows_per_batch(); }
  const BatchPlanSpec& spec() const { return spec_; }

 private:
  BatchPlan(BatchPlanSpec spec, Schedule schedule)
      : spec_(std::move(spec)), schedule_(schedule), left_in_epoch_(schedule.batches_left_in_epoch()),
        epochs_left_(spec_.epochs) {}

  BatchPlanSpec spec_;
  Schedule schedule_;
  uint64_t batches_done_ = 0;
  uint64_t left_in_epoch_ = 0;
  uint64_t epochs_left_ = 1;
  uint64_t lanes_ = 1;
  std::map<uint64_t, Order> orders_;  // by epoch; the newest few
  std::vector<Row> rows_;
};

}  // namespace headrace
