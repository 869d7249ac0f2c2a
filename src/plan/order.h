// SPDX-License-Identifier: Apache-2.0
//
// Order: position in an epoch -> sample number, a pure function of (counts, seed, epoch, block,
// lanes, shuffle). It knows nothing of ranks, batches, bytes, time or I/O. The specification, with
// its reasons, is docs/ordering.md; the maps are frozen.
//
// Positions are delivered lane by lane: position p of the main part belongs to lane p mod lanes().
// What one lane reads of one block at a stretch is a *segment*: the engine's unit of residency. A
// position's sample is samples(segment)[index].
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "plan/shard_counts.h"

namespace headrace {

enum class Shuffle { kNone, kStratified, kBlock, kGlobal };
std::string_view shuffle_name(Shuffle shuffle);        // "none", "stratified", "block", "global"
Result<Shuffle> parse_shuffle(std::string_view name);  // the same words

inline constexpr uint64_t kBlockSamplesMax = 65'536;

struct OrderSpec {
  uint64_t seed = 0;
  uint64_t epoch = 0;
  uint64_t block = 1;  // asked for, 1..kBlockSamplesMax; not used by make_units and kGlobal
  uint64_t lanes = 1;  // asked for, >= 1
  Shuffle shuffle = Shuffle::kStratified;
};

struct OrderPlan;  // order_plan.h

// Immutable, safe to share between threads, cheap to copy. No call allocates but make*, and
// samples() when `out` has to grow.
class Order {
 public:
  // Blocks of equal length cut from the shards. Error: no sample, block or lanes out of range.
  static Result<Order> make(std::shared_ptr<const ShardCounts> counts, const OrderSpec& spec);
  // Units that can only be read whole, of any length < 2^32 (Parquet row groups, compressed
  // shards). kGlobal is refused.
  static Result<Order> make_units(std::vector<uint64_t> unit_counts, const OrderSpec& spec);
  static Result<Order> make_units(std::shared_ptr<const ShardCounts> units, const OrderSpec& spec);

  // The same order in another epoch: shares what does not depend on the epoch with this one.
  Order for_epoch(uint64_t epoch) const;

  uint64_t size() const;                 // samples of an epoch
  uint64_t at(uint64_t position) const;  // sample number; position < size(). O(block + log blocks)

  struct Place {
    uint64_t segment = 0;  // unique in the epoch, < segments()
    uint32_t index = 0;    // place in the segment's delivery order
    uint32_t lane = 0;     // the segment's, < lanes(): in the tail its run, for kNone 0
    friend bool operator==(const Place&, const Place&) = default;
  };
  // A few divisions; units: O(log units).
  Place place(uint64_t position) const;

  // The sample numbers of a segment in delivery order, that is, in the order of its positions:
  // at(p) == samples(place(p).segment)[place(p).index].
  void samples(uint64_t segment, std::vector<uint64_t>& out) const;
  // = samples(segment).size(); 0 for a number that names no segment.
  uint64_t segment_size(uint64_t segment) const;
  // Bound of segment numbers; not all below are in use.
  uint64_t segments() const;
  // The block (or unit), < blocks(), that a segment in use is a part of. Segments share no sample.
  uint64_t segment_block(uint64_t segment) const;

  bool units() const;                 // made by make_units
  uint64_t block() const;             // c in use; for units the largest unit
  uint64_t lanes() const;             // L in use
  uint64_t blocks() const;            // blocks of the epoch, the short one included; or units
  uint64_t main_size() const;         // positions before the tail; 0 for units and kNone
  const OrderSpec& spec() const;      // as asked for
  const ShardCounts& counts() const;  // shards, or units

 private:
  explicit Order(std::shared_ptr<const OrderPlan> plan) : plan_(std::move(plan)) {}
  std::shared_ptr<const OrderPlan> plan_;
};

// Sample numbers along a walk (p, p + R, p + 2R, ... or any positions): keeps one segment a lane,
// so that a block's shuffle is made once. Memory: 8 bytes for each sample of the open segments, at
// most 8 * lanes * block. Not thread-safe.
class OrderWalker {
 public:
  explicit OrderWalker(Order order);
  uint64_t at(uint64_t position);  // = order.at(position)

 private:
  struct Slot {
    uint64_t segment = ~uint64_t{0};
    std::vector<uint64_t> samples;
  };
  Order order_;
  bool direct_;  // at() is as cheap as the cache
  std::vector<Slot> slots_;
};

}  // namespace headrace
