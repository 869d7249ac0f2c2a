// SPDX-License-Identifier: Apache-2.0
#include "plan/schedule.h"

#include <algorithm>
#include <string>

#include "plan/shard_counts.h"

namespace headrace {
namespace {

constexpr uint64_t kBatchMax = uint64_t{1} << 32;  // rows of a batch over all ranks
constexpr uint64_t kEpochMax = uint64_t{1} << 48;

std::string number(uint64_t value) { return std::to_string(value); }

Status check_spec(const ScheduleSpec& spec) {
  if (spec.samples == 0 || spec.samples > kSamplesMax) {
    return invalid_argument("make schedule: samples=" + number(spec.samples) + ", must be 1.." +
                            number(kSamplesMax));
  }
  if (spec.world == 0 || spec.rank >= spec.world) {
    return invalid_argument("make schedule: rank=" + number(spec.rank) +
                            ", must be below the world size: world=" + number(spec.world));
  }
  if (spec.batch == 0 || spec.batch > kBatchMax) {
    return invalid_argument("make schedule: global batch=" + number(spec.batch) + ", must be 1.." +
                            number(kBatchMax));
  }
  if (spec.batch % spec.world != 0) {
    return invalid_argument(
        "make schedule: the global batch must be the same number of rows on every rank: batch=" +
        number(spec.batch) + " world=" + number(spec.world));
  }
  if (spec.remainder == Remainder::kDrop && spec.batch > spec.samples) {
    return invalid_argument("make schedule: a batch is larger than the data set: batch=" +
                            number(spec.batch) + " samples=" + number(spec.samples) +
                            "; use remainder=\"pad\", \"wrap\" or \"short\", or a smaller batch");
  }
  return {};
}

Status check_start(const ScheduleSpec& spec, const Position& start) {
  const bool inside = start.position < spec.samples && start.drop < spec.samples &&
                      start.epoch <= kEpochMax &&
                      (start.position == 0 || start.position >= start.drop);
  if (inside) return {};
  return invalid_argument("make schedule: the start lies outside the epoch: epoch=" +
                          number(start.epoch) + " position=" + number(start.position) +
                          " drop=" + number(start.drop) + " samples=" + number(spec.samples));
}

uint64_t divided_up(uint64_t a, uint64_t b) { return a / b + (a % b > 0 ? 1 : 0); }

// The first position from `begin` on that belongs to the rank (it may lie beyond the epoch).
uint64_t first_of_rank(const ScheduleSpec& spec, uint64_t epoch, uint64_t begin) {
  const uint32_t owner = rank_of(epoch, begin, spec.samples, spec.world);
  return begin + (uint64_t{spec.rank} + spec.world - owner) % spec.world;
}

}  // namespace

std::string_view remainder_name(Remainder remainder) {
  switch (remainder) {
    case Remainder::kDrop:
      return "drop";
    case Remainder::kPad:
      return "pad";
    case Remainder::kWrap:
      return "wrap";
    case Remainder::kShort:
      return "short";
  }
  return "";
}

Result<Remainder> parse_remainder(std::string_view name) {
  for (Remainder r : {Remainder::kDrop, Remainder::kPad, Remainder::kWrap, Remainder::kShort}) {
    if (name == remainder_name(r)) return r;
  }
  return invalid_argument("read remainder: unknown \"" + std::string(name.substr(0, 40)) +
                          "\"; choose drop, pad, wrap or short");
}

uint32_t rank_of(uint64_t epoch, uint64_t position, uint64_t samples, uint32_t world) {
  const uint64_t before = (epoch % world) * (samples % world) % world;  // factors below 2^32
  return static_cast<uint32_t>((before + position % world) % world);
}

Result<Schedule> Schedule::make(const ScheduleSpec& spec, Position start) {
  HR_TRY(check_spec(spec));
  HR_TRY(check_start(spec, start));
  Schedule schedule(spec, start);
  // Nothing of this epoch was delivered yet: its D follows from this batch size, not from the one
  // that the state was made with.
  if (start.position == 0 || start.position == start.drop) {
    schedule.at_ = schedule.epoch_start(start.epoch);
  }
  return schedule;
}

Position Schedule::epoch_start(uint64_t epoch) const {
  const uint64_t drop =
      spec_.remainder == Remainder::kDrop ? spec_.samples % spec_.batch : uint64_t{0};
  return {epoch, drop, drop};
}

void Schedule::append_rows(uint64_t begin, uint64_t end, std::vector<Row>& rows) const {
  for (uint64_t p = first_of_rank(spec_, at_.epoch, begin); p < end; p += spec_.world) {
    rows.push_back({at_.epoch + p / spec_.samples, p % spec_.samples, true});
  }
}

// The rank's own rows of the epoch again, from its start, cyclically. A rank that has none (fewer
// samples than ranks) repeats the epoch's: the rows are not valid, but the step must have its
// shape.
void Schedule::append_padding(std::vector<Row>& rows) const {
  uint64_t first = first_of_rank(spec_, at_.epoch, at_.drop), step = spec_.world;
  if (first >= spec_.samples) {
    first = at_.drop;
    step = 1;
  }
  for (uint64_t p = first; rows.size() < rows_per_batch();) {
    rows.push_back({at_.epoch, p, false});
    p += step;
    if (p >= spec_.samples) p = first;
  }
}

void Schedule::advance_to(uint64_t end) {
  const uint64_t n = spec_.samples;
  if (spec_.remainder == Remainder::kWrap) {
    if (end >= n) at_.drop = 0;
    at_.epoch += end / n;
    at_.position = end % n;
    return;
  }
  const uint64_t left = n - end;
  if (left == 0 || (spec_.remainder == Remainder::kDrop && left < spec_.batch)) {
    at_ = epoch_start(at_.epoch + 1);
    epoch_over_ = true;
  } else {
    at_.position = end;
  }
}

bool Schedule::next(std::vector<Row>& rows, Position& after) {
  rows.clear();
  const uint64_t left = spec_.samples - at_.position;
  if (epoch_over_ || (spec_.remainder == Remainder::kDrop && left < spec_.batch)) return false;
  const bool cut = spec_.remainder == Remainder::kPad || spec_.remainder == Remainder::kShort;
  const uint64_t end = at_.position + (cut ? std::min(left, spec_.batch) : spec_.batch);
  append_rows(at_.position, end, rows);
  if (spec_.remainder == Remainder::kPad) append_padding(rows);
  advance_to(end);
  after = at_;
  return true;
}

void Schedule::next_epoch() {
  if (!epoch_over_) at_ = epoch_start(at_.epoch + 1);
  epoch_over_ = false;
}

uint64_t Schedule::batches_left_in_epoch() const {
  const uint64_t left = spec_.samples - at_.position;
  return spec_.remainder == Remainder::kDrop ? left / spec_.batch : divided_up(left, spec_.batch);
}

uint64_t Schedule::batches_per_epoch() const {
  return spec_.remainder == Remainder::kDrop ? spec_.samples / spec_.batch
                                             : divided_up(spec_.samples, spec_.batch);
}

uint64_t Schedule::left_out_of_epoch() const {
  const uint64_t left = spec_.samples - at_.position;
  return at_.drop + (spec_.remainder == Remainder::kDrop ? left % spec_.batch : 0);
}

Status fill_holes(std::span<const uint8_t> good, std::vector<uint32_t>& from) {
  const size_t rows = good.size();
  size_t next_good = rows;
  for (size_t i = 0; i < rows && next_good == rows; ++i) {
    if (good[i] != 0) next_good = i;
  }
  if (next_good == rows) {
    return corrupt("fill batch: none of this rank's " + number(rows) +
                   " samples could be read; see the log for their keys");
  }
  // From the last row back: the next good row of the last ones is the first good row.
  from.resize(rows);
  for (size_t i = rows; i-- > 0;) {
    if (good[i] != 0) next_good = i;
    from[i] = static_cast<uint32_t>(next_good);
  }
  return {};
}

}  // namespace headrace
