// SPDX-License-Identifier: Apache-2.0
#include "plan/mixture.h"

#include <algorithm>
#include <limits>

#include "plan/integers.h"
#include "plan/mixture_checks.h"
#include "plan/shard_counts.h"

namespace headrace {
namespace {

using Wide = unsigned __int128;

constexpr uint64_t kEpochMax = uint64_t{1} << 48;
constexpr uint64_t kForever = std::numeric_limits<uint64_t>::max();

}  // namespace

Result<MixtureSchedule> MixtureSchedule::make(const MixtureSpec& spec, MixturePoint start) {
  MixtureSchedule schedule(spec);
  MixtureSpec& mine = schedule.spec_;
  if (mine.epoch_samples == 0) {
    for (const MixtureSource& source : mine.sources) {
      mine.epoch_samples = std::min(kSamplesMax, mine.epoch_samples + source.samples);
    }
  }
  HR_TRY(check_mixture(mine));
  if (start == MixturePoint{}) {
    HR_TRY_ASSIGN(start, first_mixture_point(mine));
  }
  HR_TRY(check_mixture_start(mine, start));
  HR_TRY(check_stop_sources(mine, start));
  const uint64_t units = start.units;
  std::vector<uint64_t> weights = start.weights;
  schedule.at_ = std::move(start);
  schedule.set_weights(std::move(weights));
  schedule.at_.units = units;
  if (!schedule.prepare() && !schedule.over()) {
    schedule.next_epoch();
    schedule.prepare();
  }
  schedule.known_ = schedule.prepared() ? schedule.steady() : 0;
  return schedule;
}

void MixtureSchedule::set_weights(std::vector<uint64_t> weights) {
  at_.weights = std::move(weights);
  at_.units = 0;
  auto tree = MixtureTree::make(at_.weights);
  tree_ = tree.ok() ? *std::move(tree) : MixtureTree();  // none: every source has stopped
}

// A `stop` source gives one epoch: after it, it stands at the start of the second for good.
uint64_t MixtureSchedule::left_in_source(uint32_t source) const {
  const Position& at = at_.sources[source];
  switch (spec_.sources[source].at_end) {
    case SourceEnd::kRepeat:
      return kForever;
    case SourceEnd::kStop:
      return at.epoch > 0 ? 0 : spec_.sources[source].samples - at.position;
    case SourceEnd::kEnd:
      return spec_.sources[source].samples - at.position;
  }
  return 0;
}

bool MixtureSchedule::lacks(uint32_t source) const {
  const uint64_t end = at_.units + units_per_batch();
  const uint64_t quota = tree_.count(source, end) - tree_.count(source, at_.units);
  return quota * spec_.group > left_in_source(source);  // quota * g <= b
}

bool MixtureSchedule::over() const {
  return std::all_of(at_.weights.begin(), at_.weights.end(), [](uint64_t w) { return w == 0; });
}

// All those that lack at once; then the quotas are others, so the caller asks again.
bool MixtureSchedule::stop_sources() {
  std::vector<uint64_t> weights = at_.weights;
  for (uint32_t i = 0; i < weights.size(); ++i) {
    if (spec_.sources[i].at_end != SourceEnd::kStop || weights[i] == 0 || !lacks(i)) continue;
    weights[i] = 0;
    at_.sources[i] = {1, 0, 0};
  }
  if (weights == at_.weights) return false;
  set_weights(std::move(weights));
  return true;
}

bool MixtureSchedule::prepare() {
  if (epoch_over_) return false;
  for (const WeightChange& change : spec_.changes) {
    if (change.step != at_.steps || changed_) continue;
    std::vector<uint64_t> weights = change.weights;
    for (uint32_t i = 0; i < weights.size(); ++i) {
      if (left_in_source(i) == 0 && spec_.sources[i].at_end == SourceEnd::kStop) weights[i] = 0;
    }
    set_weights(std::move(weights));
    changed_ = true;
  }
  while (!over() && stop_sources()) {
  }
  if (over() || at_.position > spec_.epoch_samples - spec_.batch) return false;
  for (uint32_t i = 0; i < spec_.sources.size(); ++i) {
    if (spec_.sources[i].at_end != SourceEnd::kEnd || !lacks(i)) continue;
    if (at_.position > 0) return false;
    at_.sources[i] = {at_.sources[i].epoch + 1, 0, 0};  // holds a batch: check_sources
  }
  return true;
}

bool MixtureSchedule::prepared() const {
  if (epoch_over_ || over() || at_.position > spec_.epoch_samples - spec_.batch) return false;
  for (const WeightChange& change : spec_.changes) {
    if (change.step == at_.steps && !changed_) return false;
  }
  for (uint32_t i = 0; i < spec_.sources.size(); ++i) {
    if (spec_.sources[i].at_end != SourceEnd::kRepeat && lacks(i)) return false;
  }
  return true;
}

uint64_t MixtureSchedule::steady() const {
  uint64_t batches = (spec_.epoch_samples - at_.position) / spec_.batch;
  for (const WeightChange& change : spec_.changes) {
    if (change.step > at_.steps) batches = std::min(batches, change.step - at_.steps);
  }
  for (uint32_t i = 0; i < spec_.sources.size(); ++i) {
    const uint64_t left = left_in_source(i);
    if (at_.weights[i] == 0 || left == kForever) continue;
    // The batch that holds the first unit which the source cannot give.
    const uint64_t first = tree_.count(i, at_.units) + left / spec_.group;  // below 2^50
    batches = std::min(batches, (tree_.unit_of(i, first) - at_.units) / units_per_batch());
  }
  return batches;
}

// Past `batches` <= steady() batches.
void MixtureSchedule::advance(uint64_t batches) {
  const uint64_t end = at_.units + batches * units_per_batch();
  for (uint32_t i = 0; i < spec_.sources.size(); ++i) {
    const uint64_t units = tree_.count(i, end) - tree_.count(i, at_.units);
    const uint64_t to = at_.sources[i].position + units * spec_.group, n = spec_.sources[i].samples;
    const bool stays = to < n || spec_.sources[i].at_end == SourceEnd::kEnd;
    at_.sources[i] = {at_.sources[i].epoch + (stays ? 0 : to / n), stays ? to : to % n, 0};
  }
  at_.units = end;
  at_.steps += batches;
  at_.position += batches * spec_.batch;
  changed_ = false;
  if (at_.position > spec_.epoch_samples - spec_.batch) {
    ++at_.epoch;
    at_.position = 0;
    epoch_over_ = true;
  }
}

bool MixtureSchedule::next(std::vector<Row>& rows, MixturePoint& after) {
  rows.clear();
  if (!prepare()) return false;
  const uint64_t units = units_per_batch(), g = spec_.group;
  std::vector<uint64_t> place(units);
  shuffled(std::span<uint64_t>(place), order_key(spec_.seed, 0, OrderTag::kMixture, at_.steps));
  std::vector<Position> at = at_.sources;
  rows.resize(rows_per_batch());
  MixtureTree::Walk walk(tree_, at_.units);
  for (uint64_t v = 0; v < units; ++v) {
    const uint32_t source = walk.next();
    const uint64_t n = spec_.sources[source].samples;
    Position& from = at[source];
    for (uint64_t j = 0; j < g; ++j) {
      const uint64_t row = place[v] * g + j;
      if (row % spec_.world == spec_.rank) {
        rows[row / spec_.world] = {from.epoch, from.position, true, source};
      }
      if (++from.position == n) from = {from.epoch + 1, 0, 0};
    }
  }
  advance(1);
  known_ = prepared() ? steady() : 0;
  after = at_;
  return true;
}

void MixtureSchedule::next_epoch() {
  if (!epoch_over_) {
    ++at_.epoch;
    at_.position = 0;
  }
  epoch_over_ = false;
  known_ = prepared() ? steady() : 0;
}

uint64_t MixtureSchedule::batches_per_epoch() const { return spec_.epoch_samples / spec_.batch; }

uint64_t MixtureSchedule::batches_left_in_epoch() const {
  MixtureSchedule ahead = *this;
  ahead.epoch_over_ = false;
  while (ahead.prepare()) ahead.advance(ahead.steady());
  return ahead.at_.steps - at_.steps;
}

uint32_t MixtureSchedule::rank_of_unit(uint64_t step, uint64_t unit, uint64_t sample) const {
  if (spec_.group % spec_.world == 0) return static_cast<uint32_t>(sample % spec_.world);
  const uint64_t key = order_key(spec_.seed, 0, OrderTag::kMixture, step);
  const uint64_t place = shuffled_at(units_per_batch(), key, unit);
  return static_cast<uint32_t>((place * spec_.group + sample) % spec_.world);
}

std::optional<uint32_t> MixtureSchedule::rank_of(uint32_t source, uint64_t epoch,
                                                 uint64_t position) const {
  HR_ASSERT(source < spec_.sources.size());
  const Position& from = at_.sources[source];
  if (known_ == 0 || at_.weights[source] == 0 || epoch < from.epoch) return std::nullopt;
  const bool repeats = spec_.sources[source].at_end == SourceEnd::kRepeat;
  if (epoch > from.epoch && (!repeats || epoch - from.epoch > kEpochMax)) return std::nullopt;
  const Wide to = Wide{epoch - from.epoch} * spec_.sources[source].samples + position;
  if (to < from.position) return std::nullopt;
  const Wide later = to - from.position;  // samples of the source before it
  const Wide k = later / spec_.group + tree_.count(source, at_.units);
  if (k >= kMixtureUnitsMax) return std::nullopt;
  const uint64_t unit = tree_.unit_of(source, static_cast<uint64_t>(k)) - at_.units;
  const uint64_t batch = unit / units_per_batch();
  if (batch >= known_) return std::nullopt;
  return rank_of_unit(at_.steps + batch, unit % units_per_batch(),
                      static_cast<uint64_t>(later % spec_.group));
}

}  // namespace headrace
