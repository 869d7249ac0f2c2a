// SPDX-License-Identifier: Apache-2.0
#include "plan/order_plan.h"

namespace headrace {

uint64_t OrderPlan::block_of(uint64_t turn) const {
  uint64_t k = turn;
  if (units) {
    // The tape of units is laid lane after lane, so that a lane's run begins in about its own
    // column of the deal.
    if (turn >= rows * lanes)
      return spec.shuffle == Shuffle::kBlock ? deal(turn) : spread(turn, blocks, deal_key);
    k = turn % rows * lanes + turn / rows;
  }
  if (k >= full_blocks) return k;  // the short block
  return deal.size() > 0 ? deal(k) : spread(k, full_blocks, deal_key);
}

uint64_t OrderPlan::stored(uint64_t b, uint64_t offset) const {
  return units ? counts->first(b) + offset : layout->sample(b, offset);
}

uint64_t OrderPlan::tape_begin(uint64_t m) const {
  if (units) return tape_first[m];
  return std::min(m * block, cut.n);  // only the last block is shorter
}

uint64_t OrderPlan::tape_block_at(uint64_t place) const {
  if (!units) return place / block;
  const auto after = std::upper_bound(tape_first.begin(), tape_first.end(), place);
  return static_cast<uint64_t>(after - tape_first.begin()) - 1;
}

Segment OrderPlan::tape_segment(uint64_t run, uint64_t m) const {
  const uint64_t begin = tape_begin(m);
  const uint64_t lo = std::max(begin, cut.begin(run));
  const uint64_t hi = std::min(tape_begin(m + 1), cut.begin(run + 1));
  if (hi <= lo) return {};
  return {tape_turn + m, lo - begin, hi - begin};
}

Piece OrderPlan::piece(uint64_t position) const {
  if (spec.shuffle == Shuffle::kNone) return stored_piece(position);
  return position < main ? main_piece(position) : tape_piece(position - main);
}

Piece OrderPlan::stored_piece(uint64_t position) const {
  if (units) {
    const ShardCounts::At at = counts->locate(position);
    return {{at.shard, 0, counts->count(at.shard)}, at.shard, at.row, 0};
  }
  const uint64_t id = position / block;
  return {{id, 0, std::min(block, n - id * block)}, id, position % block, 0};
}

// A lane reads its rows * block samples as a ring that it enters `off` before the end, so that the
// lanes change blocks one after another. The block of the last row is met twice: its later part
// first, its earlier part last.
Piece OrderPlan::main_piece(uint64_t position) const {
  const uint64_t round = position / lanes, lane = position % lanes;
  const uint64_t off = lane * block / lanes;
  const uint64_t clock = round >= off ? round - off : round + rows * block - off;
  const uint64_t row = clock / block, place = clock % block;
  const uint64_t turn = row * lanes + lane;
  if (row + 1 < rows) return {{turn, 0, block}, turn, place, lane};
  if (place < block - off) return {{turn, 0, block - off}, turn, place, lane};
  return {{turn, block - off, block}, rows * lanes + lane, place - (block - off), lane};
}

Piece OrderPlan::tape_piece(uint64_t position) const {
  const uint64_t round = position / cut.runs, lane = position % cut.runs;
  const bool whole = round < cut.whole_rounds();
  const uint64_t run = whole && !units ? run_of_lane(lane) : lane;
  const uint64_t place = cut.begin(run) + round;
  const uint64_t m = tape_block_at(place);
  const Segment segment = tape_segment(run, m);
  const uint64_t first = tape_begin(m) + segment.lo;
  return {segment, tape_segment_base() + run + m, place - first, run};
}

uint64_t OrderPlan::segments() const {
  if (spec.shuffle == Shuffle::kNone) return blocks;
  const uint64_t runs = std::min(cut.runs, cut.n);
  return tape_segment_base() + (runs > 0 ? runs + tape_blocks() - 1 : 0);
}

Segment OrderPlan::segment(uint64_t id) const {
  if (id >= segments()) return {};
  if (spec.shuffle == Shuffle::kNone) {
    return {id, 0, units ? counts->count(id) : std::min(block, n - id * block)};
  }
  const uint64_t base = tape_segment_base();
  if (id < base) {
    const uint64_t lane = id % lanes, off = lane * block / lanes;
    if (id >= rows * lanes) return {id - lanes, block - off, block};  // the lane's start
    return {id, 0, id / lanes + 1 == rows ? block - off : block};
  }
  // The last run whose first part has no higher number.
  const uint64_t wanted = id - base;
  uint64_t run = 0;
  for (uint64_t low = 0, high = std::min(cut.runs, cut.n); low < high;) {
    const uint64_t middle = low + (high - low) / 2;
    if (middle + tape_block_at(cut.begin(middle)) <= wanted) {
      run = middle;
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return tape_segment(run, wanted - run);
}

OrderPlan::Ring OrderPlan::ring(uint64_t turn) const {
  const uint64_t b = block_of(turn);
  const uint64_t size = block_size(b);
  const uint64_t key = order_key(spec.seed, spec.epoch, OrderTag::kInside, b);
  return {b, size, key, b < full_blocks ? scaled(mix64(key), size) : 0};
}

}  // namespace headrace
