// SPDX-License-Identifier: Apache-2.0
//
// SourceOrder: how the samples of one source stand in its epochs, as the engine asks for them: by an Order over all of
// them or over a selection, each exactly once; or drawn by weight with replacement, one draw a position. A mixture has
// several. Sample numbers that leave here are the data set's own.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "base/result.h"
#include "plan/order.h"
#include "plan/selection.h"
#include "plan/shard_counts.h"
#include "plan/weighted_draws.h"

namespace headrace {

// Weights that hold from a place in the source's epochs on.
struct DrawsFrom {
  uint64_t epoch = 0;
  uint64_t position = 0;
  std::shared_ptr<const WeightedDraws> draws;
};

struct SourceSpec {
  std::shared_ptr<const ShardCounts> counts;   // of the data set
  OrderSpec order;                             // its epoch is not used
  std::shared_ptr<const Selection> selection;  // null: every sample takes part
  std::vector<DrawsFrom> draws;                // ascending, the first from (0, 0); empty: exactly once
  uint64_t draws_epoch = 0;                    // draws of an epoch; 0: as many as samples
  std::shared_ptr<const ShardCounts> units;    // of formats that are decoded in units, which the order then deals with
};

class SourceOrder {
 public:
  // Errors: those of Order::make; draws or a selection of another number of samples; both at once.
  static Result<SourceOrder> make(SourceSpec spec);

  uint64_t size() const { return size_; }    // positions of an epoch
  uint64_t lanes() const { return lanes_; }  // 1 where samples are drawn
  bool drawn() const { return !spec_.draws.empty(); }

  Order::Place place(uint64_t epoch, uint64_t position);
  // The samples of a segment in delivery order; `out` is replaced.
  void samples(uint64_t epoch, uint64_t segment, std::vector<uint64_t>& out);
  // From a position of a segment with index k to the one with index k + 1.
  uint64_t stride(uint64_t epoch, uint64_t position);
  uint64_t segment_size(uint64_t epoch, uint64_t segment) { return drawn() ? 1 : order(epoch).segment_size(segment); }
  // Samples that all lanes hold at most, one block each; 0 where there are none (draws, no shuffle).
  uint64_t lane_samples() const { return lane_samples_; }
  bool in_tail(uint64_t epoch, uint64_t position) { return lane_samples_ > 0 && !in_main(epoch, position); }
  // Positions of units are a lane's from the first to the last one, as those of the main part are.
  bool in_main(uint64_t epoch, uint64_t position) {
    return !drawn() && (by_units() || position < order(epoch).main_size());
  }

 private:
  explicit SourceOrder(SourceSpec spec) : spec_(std::move(spec)) {}
  const Order& order(uint64_t epoch);
  bool by_units() const { return spec_.units != nullptr && spec_.order.shuffle != Shuffle::kNone; }

  SourceSpec spec_;
  std::shared_ptr<const ShardCounts> counts_;  // what the order runs over
  uint64_t size_ = 0;
  uint64_t lanes_ = 1;
  uint64_t lane_samples_ = 0;
  std::map<uint64_t, Order> orders_;  // by epoch; the newest few
};

}  // namespace headrace
