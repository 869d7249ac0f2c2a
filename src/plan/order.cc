// SPDX-License-Identifier: Apache-2.0
#include "plan/order.h"

#include <limits>

#include "plan/order_plan.h"

namespace headrace {
namespace {

constexpr uint64_t kLanesMax = uint64_t{1} << 31;              // Place::lane
constexpr uint64_t kUnitSamplesMax = (uint64_t{1} << 32) - 1;  // Place::index, kShuffledMax

std::string number(uint64_t value) { return std::to_string(value); }

Status check_spec(const OrderSpec& spec, const ShardCounts& counts, bool units) {
  if (counts.total() == 0) {
    return invalid_argument("make order: the data set has no sample: shards=" +
                            number(counts.shards()));
  }
  if (counts.total() > kSamplesMax) {
    return invalid_argument("make order: samples=" + number(counts.total()) + ", at most " +
                            number(kSamplesMax));
  }
  if (spec.lanes == 0 || spec.lanes > kLanesMax) {
    return invalid_argument("make order: lanes=" + number(spec.lanes) + ", must be 1.." +
                            number(kLanesMax));
  }
  if (units) return {};
  if (spec.block == 0 || spec.block > kBlockSamplesMax) {
    return invalid_argument("make order: block=" + number(spec.block) + ", must be 1.." +
                            number(kBlockSamplesMax));
  }
  return {};
}

// Where each block of the tape begins, and its end: 8 bytes a unit.
std::vector<uint64_t> tape_of_units(const OrderPlan& plan) {
  std::vector<uint64_t> first;
  first.reserve(plan.blocks + 1);
  uint64_t begin = 0;
  for (uint64_t turn = 0; turn < plan.blocks; ++turn) {
    first.push_back(begin);
    begin += plan.counts->count(plan.block_of(turn));
  }
  first.push_back(begin);
  return first;
}

// What depends on seed and epoch; the rest of a plan follows from the data set, block and lanes.
void deal_epoch(OrderPlan& plan) {
  const OrderSpec& spec = plan.spec;
  if (spec.shuffle == Shuffle::kNone) return;
  plan.deal_key = order_key(spec.seed, spec.epoch, OrderTag::kBlocks, 0);
  const bool by_lot = spec.shuffle == Shuffle::kBlock || spec.shuffle == Shuffle::kGlobal;
  plan.deal = by_lot ? Permutation(plan.full_blocks, plan.deal_key) : Permutation();
  if (plan.units) {
    plan.tape_first = tape_of_units(plan);
  } else {
    const uint64_t key = order_key(spec.seed, spec.epoch, OrderTag::kTail, 0);
    plan.run_of_lane = Permutation(plan.cut.runs, key);
  }
}

}  // namespace

std::string_view shuffle_name(Shuffle shuffle) {
  switch (shuffle) {
    case Shuffle::kNone:
      return "none";
    case Shuffle::kStratified:
      return "stratified";
    case Shuffle::kBlock:
      return "block";
    case Shuffle::kGlobal:
      return "global";
  }
  return "";
}

Result<Shuffle> parse_shuffle(std::string_view name) {
  for (Shuffle s : {Shuffle::kNone, Shuffle::kStratified, Shuffle::kBlock, Shuffle::kGlobal}) {
    if (name == shuffle_name(s)) return s;
  }
  return invalid_argument("read shuffle: unknown \"" + std::string(name.substr(0, 40)) +
                          "\"; choose stratified, block, global or none");
}

Result<Order> Order::make(std::shared_ptr<const ShardCounts> counts, const OrderSpec& spec) {
  HR_TRY(check_spec(spec, *counts, false));
  auto plan = std::make_shared<OrderPlan>();
  plan->spec = spec;
  plan->counts = counts;
  plan->n = counts->total();
  plan->lanes = std::min(spec.lanes, plan->n);
  const uint64_t block_asked = spec.shuffle == Shuffle::kGlobal ? 1 : spec.block;
  plan->block = std::min(block_asked, plan->n / plan->lanes);
  const uint64_t c = plan->block, lanes = plan->lanes;
  plan->full_blocks = plan->n / c;
  plan->blocks = plan->full_blocks + (plan->n % c > 0 ? 1 : 0);
  if (spec.shuffle == Shuffle::kNone) return Order(std::move(plan));

  plan->layout = std::make_shared<const BlockLayout>(std::move(counts), c);
  plan->rows = plan->full_blocks / lanes;
  plan->main = plan->rows * c * lanes;
  plan->tape_turn = plan->rows * lanes;
  const uint64_t tail = plan->n - plan->main;
  plan->cut = {tail, std::min(lanes, tail)};
  deal_epoch(*plan);
  return Order(std::move(plan));
}

Result<Order> Order::make_units(std::vector<uint64_t> unit_counts, const OrderSpec& spec) {
  HR_TRY_ASSIGN(ShardCounts counts, ShardCounts::make(std::move(unit_counts)));
  return make_units(std::make_shared<const ShardCounts>(std::move(counts)), spec);
}

Result<Order> Order::make_units(std::shared_ptr<const ShardCounts> counts, const OrderSpec& spec) {
  HR_TRY(check_spec(spec, *counts, true));
  if (spec.shuffle == Shuffle::kGlobal) {
    return invalid_argument(
        "make order: shuffle=\"global\" needs single samples, these can only be read in units of "
        "up to "
        "many samples; choose \"stratified\" or \"block\"");
  }
  auto plan = std::make_shared<OrderPlan>();
  plan->spec = spec;
  plan->counts = counts;
  plan->units = true;
  plan->n = counts->total();
  plan->full_blocks = plan->blocks = counts->shards();
  plan->lanes = std::min(spec.lanes, plan->blocks);
  plan->block = 0;
  for (uint64_t unit = 0; unit < plan->blocks; ++unit)
    plan->block = std::max(plan->block, counts->count(unit));
  if (plan->block > kUnitSamplesMax) {
    return invalid_argument("make order: a unit of " + number(plan->block) + " samples, at most " +
                            number(kUnitSamplesMax));
  }
  if (spec.shuffle == Shuffle::kNone) return Order(std::move(plan));

  plan->rows = plan->blocks / plan->lanes;
  plan->cut = {plan->n, plan->lanes};
  deal_epoch(*plan);
  return Order(std::move(plan));
}

Order Order::for_epoch(uint64_t epoch) const {
  auto plan = std::make_shared<OrderPlan>(*plan_);
  plan->spec.epoch = epoch;
  deal_epoch(*plan);
  return Order(std::move(plan));
}

uint64_t Order::at(uint64_t position) const {
  HR_ASSERT(position < plan_->n);
  if (plan_->spec.shuffle == Shuffle::kNone) return position;
  const Piece piece = plan_->piece(position);
  const OrderPlan::Ring ring = plan_->ring(piece.segment.turn);
  const uint64_t place =
      piece.segment.lo + shuffled_at(piece.segment.size(), ring.key, piece.index) + ring.cut;
  return plan_->stored(ring.block, place < ring.size ? place : place - ring.size);
}

Order::Place Order::place(uint64_t position) const {
  HR_ASSERT(position < plan_->n);
  const Piece piece = plan_->piece(position);
  return {piece.id, static_cast<uint32_t>(piece.index), static_cast<uint32_t>(piece.lane)};
}

void Order::samples(uint64_t segment, std::vector<uint64_t>& out) const {
  const Segment found = plan_->segment(segment);
  out.resize(found.size());
  if (found.size() == 0) return;
  if (plan_->spec.shuffle == Shuffle::kNone) {
    uint64_t first = plan_->units ? plan_->counts->first(segment) : segment * plan_->block;
    for (uint64_t& sample : out) sample = first++;
    return;
  }
  const OrderPlan::Ring ring = plan_->ring(found.turn);
  shuffled(std::span<uint64_t>(out), ring.key);
  const uint64_t run =
      plan_->units ? plan_->counts->first(ring.block) : plan_->layout->run_of_samples(ring.block);
  for (uint64_t& sample : out) {
    uint64_t place = found.lo + sample + ring.cut;
    if (place >= ring.size) place -= ring.size;
    sample = run != ~uint64_t{0} ? run + place : plan_->stored(ring.block, place);
  }
}

uint64_t Order::segment_size(uint64_t segment) const { return plan_->segment(segment).size(); }

uint64_t Order::segment_block(uint64_t segment) const {
  const Segment found = plan_->segment(segment);
  HR_ASSERT(found.size() > 0);
  return plan_->spec.shuffle == Shuffle::kNone ? found.turn : plan_->block_of(found.turn);
}

uint64_t Order::size() const { return plan_->n; }
uint64_t Order::segments() const { return plan_->segments(); }
bool Order::units() const { return plan_->units; }
uint64_t Order::block() const { return plan_->block; }
uint64_t Order::lanes() const { return plan_->lanes; }
uint64_t Order::blocks() const { return plan_->blocks; }
uint64_t Order::main_size() const { return plan_->main; }
const OrderSpec& Order::spec() const { return plan_->spec; }
const ShardCounts& Order::counts() const { return *plan_->counts; }

OrderWalker::OrderWalker(Order order)
    : order_(std::move(order)),
      direct_(order_.spec().shuffle == Shuffle::kNone || order_.block() == 1) {
  if (!direct_) slots_.resize(order_.lanes());
}

uint64_t OrderWalker::at(uint64_t position) {
  if (direct_) return order_.at(position);
  const Order::Place place = order_.place(position);
  Slot& slot = slots_[place.lane];
  if (slot.segment != place.segment) {
    order_.samples(place.segment, slot.samples);
    slot.segment = place.segment;
  }
  return slot.samples[place.index];
}

}  // namespace headrace
