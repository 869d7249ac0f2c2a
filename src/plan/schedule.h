// SPDX-License-Identifier: Apache-2.0
//
// Schedule: which positions make up this rank's next batch, and the state after it
// (docs/ordering.md, "Batches, ranks, epochs"). Pure arithmetic on positions: it needs no Order and
// no other rank, and does the same number of steps on every rank.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace headrace {

enum class Remainder { kDrop, kPad, kWrap, kShort };
std::string_view remainder_name(Remainder remainder);  // "drop", "pad", "wrap", "short"
Result<Remainder> parse_remainder(std::string_view name);

struct ScheduleSpec {
  uint64_t samples = 0;  // N, of one epoch
  uint64_t batch = 0;    // b, global: over all ranks
  uint32_t rank = 0;
  uint32_t world = 1;
  Remainder remainder = Remainder::kDrop;
};

// Where a job stands: the numbers of the state, the same on every rank.
struct Position {
  uint64_t epoch = 0;
  uint64_t position = 0;  // next position to deliver
  uint64_t drop = 0;      // D: the first positions of this epoch that are left out
  friend bool operator==(const Position&, const Position&) = default;
};

struct Row {
  uint64_t epoch = 0;
  uint64_t position = 0;
  bool valid = true;    // false: a repeated row that fills the last batch (kPad)
  uint32_t source = 0;  // of a mixture (MixtureSchedule)
  friend bool operator==(const Row&, const Row&) = default;
};

// The rank that a position belongs to: (epoch * samples + position) mod world, without overflow.
uint32_t rank_of(uint64_t epoch, uint64_t position, uint64_t samples, uint32_t world);

class Schedule {
 public:
  // `start` is {} for a new job, else a state's numbers. At an epoch's start (position 0, or
  // position == drop) D is chosen anew for this batch size; inside an epoch the state's D stays.
  // Errors: no sample, batch 0, batch not a multiple of world, rank >= world, batch larger than the
  // epoch under kDrop, a position or D outside the epoch.
  static Result<Schedule> make(const ScheduleSpec& spec, Position start);

  // This rank's rows of the next batch, by position, and the state after it. False: the epoch is
  // over (nothing changes; call next_epoch). Under kWrap there is always a next batch, which may
  // reach into the next epoch. Under kShort the last batch may be smaller, and empty on a rank.
  bool next(std::vector<Row>& rows, Position& after);
  // Goes to the start of the next epoch: after next() said false, or to leave an epoch early. Under
  // kWrap an early leave leaves out the rest of the epoch.
  void next_epoch();

  // The state before the next batch. After the last batch of an epoch: (epoch + 1, its start).
  const Position& position() const { return at_; }
  // Batches until the epoch that position() is in ends, of which kWrap's last one reaches into the
  // next. A loader's pass is this many batches, read at its start. 0 only where a larger batch than
  // before does not fit the rest of an epoch (kDrop).
  uint64_t batches_left_in_epoch() const;
  // Batches of an epoch from its start (kWrap: of one that begins at position 0).
  uint64_t batches_per_epoch() const;
  // Positions of the current epoch that no batch delivers when it runs to its end: D, and under
  // kDrop what remains.
  uint64_t left_out_of_epoch() const;
  uint64_t rows_per_batch() const { return spec_.batch / spec_.world; }
  const ScheduleSpec& spec() const { return spec_; }

 private:
  Schedule(const ScheduleSpec& spec, Position at) : spec_(spec), at_(at) {}
  Position epoch_start(uint64_t epoch) const;
  void advance_to(uint64_t end);
  void append_rows(uint64_t begin, uint64_t end, std::vector<Row>& rows) const;
  void append_padding(std::vector<Row>& rows) const;

  ScheduleSpec spec_;
  Position at_;
  bool epoch_over_ = false;  // at_ is the next epoch's start, which next_epoch() enters
};

// Rows that a bad sample left empty (policy "skip"): good[i] is 0 where row i of this rank's batch
// has no sample. Writes to from[i] the row whose sample stands in row i: itself, or the next good
// row, cyclically. Error: no good row at all.
Status fill_holes(std::span<const uint8_t> good, std::vector<uint32_t>& from);

}  // namespace headrace
