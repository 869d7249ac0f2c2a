// SPDX-License-Identifier: Apache-2.0
//
// What an Order holds, and the maps it is made of: position -> piece (a segment and a place in it),
// segment number -> segment, piece -> sample. Private to plan/: include plan/order.h.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "plan/block_layout.h"
#include "plan/integers.h"
#include "plan/order.h"

namespace headrace {

// A tape of n samples cut into equal runs, the first n mod runs of them longer by one.
struct RunCut {
  uint64_t n = 0;
  uint64_t runs = 0;
  uint64_t begin(uint64_t run) const { return run * (n / runs) + std::min(run, n % runs); }
  uint64_t whole_rounds() const { return n / runs; }
};

// Places [lo, hi) of the ring of the turn-th block dealt, read by one lane. Empty: names no
// segment.
struct Segment {
  uint64_t turn = 0;
  uint64_t lo = 0;
  uint64_t hi = 0;
  uint64_t size() const { return hi - lo; }
};

// The index-th sample delivered of a segment.
struct Piece {
  Segment segment;
  uint64_t id = 0;
  uint64_t index = 0;
  uint64_t lane = 0;
};

// Segment numbers: main part: the turn, row * lanes + lane; then the lanes' starts (the later part
// of a block of the last row), one a lane; then run + turn on the tape for each part of the tail:
// both grow along the tape, and one of them at every border, so the sums differ. Without a shuffle:
// position / block; or the unit.
struct OrderPlan {
  OrderSpec spec;
  std::shared_ptr<const ShardCounts> counts;
  bool units = false;

  uint64_t n = 0;            // samples
  uint64_t block = 1;        // c in use; for units the largest
  uint64_t lanes = 1;        // L in use
  uint64_t full_blocks = 0;  // F, or U: blocks that are dealt by lot, and are rings
  uint64_t blocks = 0;       // with the short one
  uint64_t rows = 0;         // T
  uint64_t main = 0;         // positions of the main part
  uint64_t deal_key = 0;
  Permutation deal;                           // of "block" and "global"; the others use spread
  Permutation run_of_lane;                    // of the tail
  RunCut cut;                                 // of the tail; for units of everything
  uint64_t tape_turn = 0;                     // turn of the tape's first block
  std::shared_ptr<const BlockLayout> layout;  // not for units
  std::vector<uint64_t> tape_first;  // units: where each block of the tape begins, and its end

  // Which block is dealt in a turn.
  uint64_t block_of(uint64_t turn) const;
  uint64_t block_size(uint64_t b) const { return units ? counts->count(b) : layout->size(b); }
  uint64_t stored(uint64_t b, uint64_t offset) const;

  // The tape: places 0..cut.n-1, blocks m = 0, 1, ... of it.
  uint64_t tape_blocks() const { return blocks - tape_turn; }
  uint64_t tape_begin(uint64_t m) const;  // m <= tape_blocks()
  uint64_t tape_block_at(uint64_t place) const;
  Segment tape_segment(uint64_t run, uint64_t m) const;
  uint64_t tape_segment_base() const { return units ? 0 : (rows + 1) * lanes; }

  Piece piece(uint64_t position) const;
  Piece stored_piece(uint64_t position) const;
  Piece main_piece(uint64_t position) const;
  Piece tape_piece(uint64_t position) const;
  Segment segment(uint64_t id) const;
  uint64_t segments() const;

  // How the samples of a segment stand: the i-th delivered is place (lo + shuffled(hi - lo, key)[i]
  // + cut) of the ring.
  struct Ring {
    uint64_t block;
    uint64_t size;
    uint64_t key;
    uint64_t cut;
  };
  Ring ring(uint64_t turn) const;
};

}  // namespace headrace
