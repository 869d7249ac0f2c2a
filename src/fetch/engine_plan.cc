// SPDX-License-Identifier: Apache-2.0
//
// Planning: from rows to parts in the read queue. What is planned holds its memory already.
#include <algorithm>

#include "fetch/engine.h"
#include "format/dataset_index.h"

namespace headrace {
namespace {

// Rows are cut one by one where at most a half of what is read is wanted: a cut of its own costs a row up to twice its
// share of a cut of all, and needs no memory for the fields of the others.
constexpr uint64_t kFewRowsShare = 2;

thread_local const FetchEngine* t_giving_up = nullptr;
struct GivingUp {
  explicit GivingUp(const FetchEngine* engine) { t_giving_up = engine; }
  ~GivingUp() { t_giving_up = nullptr; }
};

}  // namespace

bool FetchEngine::is_giving_up(const FetchEngine& engine) { return t_giving_up == &engine; }

void FetchEngine::plan_ahead() {
  blocked_ = false;
  // While somebody else takes the memory that was given back, nothing is planned but the batch that the consumer waits
  // for, and not even that while it has another one coming.
  const bool head_waits = batches_.empty() || !batches_.back().complete;
  if (executor_.clock().now() < yield_until_ && (downstream_ > 0 || !head_waits)) return;
  while (!ended_) {
    if (pending_at_ == pending_rows_.size()) {
      if (!batches_.empty() && executor_.clock().now() < yield_until_) return;
      const bool enough = batches_.size() >= 2 && bytes_ahead_ >= ahead_.bytes();
      if (plan_over_ || enough || rows_ahead_ >= options_.rows_ahead_max || !open_batch()) return;
    }
    PlannedBatch& batch = batches_.back();
    for (; pending_at_ < pending_rows_.size(); ++pending_at_) {
      if (queue_.size() >= options_.queue_max) issue();
      if (queue_.size() >= options_.queue_max) return;  // goes on when answers come
      if (!plan_row(batch, pending_rows_[pending_at_])) {
        blocked_ = true;
        return;
      }
      ++rows_planned_;
      ++rows_ahead_;
    }
    batch.complete = true;
  }
}

bool FetchEngine::open_batch() {
  if (batches_.empty() && by_sample_ == next_number_) {
    // What its lanes hold must not serve it: all of that goes first.
    evict(UINT64_MAX);
    if (in_flight_ > 0) {
      blocked_ = true;
      return false;
    }
  }
  const BatchPlan::Mark before = plan_.mark();
  PlanPoint after;
  pending_at_ = 0;
  if (!plan_.next(pending_rows_, after)) {
    pending_rows_.clear();
    plan_over_ = true;
    return false;
  }
  batches_.push_back({next_number_++, {}, std::move(after), before, 0, 0, false});
  batches_.back().rows.reserve(pending_rows_.size());
  return true;
}

bool FetchEngine::plan_row(PlannedBatch& batch, const PlanRow& row) {
  Segment& segment = open_segment(row);
  const uint64_t sample = segment.samples[row.index];
  Part* part = cover(segment, row);
  if (part == nullptr) return false;
  if (segment.wanted[row.index]) {
    segment.wanted[row.index] = false;
    if (!keeps_strides(row.source)) later_bytes_ -= deps_.sources[row.source].sample_bytes_mean();
  } else {
    ++segment.rows_left;
  }
  segment.last_position = row.position;
  ++part->planned;
  if (part->scattered) ++part->piece_of(sample)->planned;
  if (is_kept(*part)) {  // nothing was opened for it, and how far ahead batches are planned goes by bytes
    const uint64_t mean = deps_.sources[row.source].sample_bytes_mean();
    batch.bytes_opened += mean;
    bytes_ahead_ += mean;
  }
  if (!part->ready && (part->waiting.empty() || part->waiting.back() != batch.number)) {
    part->waiting.push_back(batch.number);
    ++batch.parts_missing;
  }
  batch.rows.push_back({&segment, row.position, row.index, row.valid});
  return true;
}

Segment& FetchEngine::new_segment(const SegmentKey& key) {
  if (spare_segments_.empty()) return *segments_.emplace(key, std::make_unique<Segment>()).first->second;
  Segments::node_type node = std::move(spare_segments_.back());
  spare_segments_.pop_back();
  node.key() = key;
  return *segments_.insert(std::move(node)).position->second;
}

Segment& FetchEngine::open_segment(const PlanRow& row) {
  const SegmentKey key{row.source, row.epoch, row.segment};
  if (const auto found = segments_.find(key); found != segments_.end()) return *found->second;
  Segment& segment = new_segment(key);
  segment.source = row.source;
  segment.epoch = row.epoch;
  segment.id = row.segment;
  plan_.samples(row, segment.samples);
  segment.wanted.assign(segment.samples.size(), false);
  plan_.wanted(row, wanted_);
  for (uint32_t k : wanted_) segment.wanted[k] = true;
  segment.rows_left = wanted_.size();
  return segment;
}

// The samples that are still to be read for this rank, the row's own among them, in stored order.
std::vector<uint64_t> FetchEngine::uncovered(const Segment& segment, const PlanRow& row) const {
  std::vector<uint64_t> samples;
  for (uint32_t k = 0; k < segment.samples.size(); ++k) {
    if (k != row.index && !segment.wanted[k]) continue;
    if (!segment.parts.empty() && segment.part_of(segment.samples[k]) != nullptr) continue;
    samples.push_back(segment.samples[k]);
  }
  std::ranges::sort(samples);
  return samples;
}

// The part that has or will have the row's sample; nullptr when there is no memory for one now.
Part* FetchEngine::cover(Segment& segment, const PlanRow& row) {
  const uint64_t sample = segment.samples[row.index];
  if (Part* part = segment.part_of(sample)) return part;
  const bool keeps = keeps_strides(row.source);
  if (keeps) {
    if (Part* part = cover_from_kept(segment, sample)) return part;
  }
  const bool head = batches_.size() == 1;
  if (by_sample_ == batches_.back().number) return cover_sample(segment, row);
  const uint64_t mean = deps_.sources[row.source].sample_bytes_mean();
  // Cheap refusal before the work of cutting runs: this is asked again at every release of memory.
  if (!head && !has_headroom(mean)) return nullptr;

  // A unit comes whole, whichever of its samples is wanted; so does a stride that is kept.
  std::vector<uint64_t> samples =
      keeps || deps_.sources[row.source].units ? std::vector<uint64_t>{sample} : uncovered(segment, row);
  const bool small = samples.size() * mean <= options_.gap_bytes_max;
  if (rows_planned_ < ramp_rows_ && !small && samples.size() > 1) {
    // First visit of the lane: from the nearer end of what is wanted up to the sample, so that the
    // rest stays one range.
    const auto at = std::ranges::find(samples, sample);
    if (at - samples.begin() < samples.end() - at - 1) {
      // Few lanes: what follows in the stored order is as likely to be of the same batch.
      const auto share = std::min<uint64_t>(ramp_share_, static_cast<uint64_t>(samples.end() - at));
      samples.erase(at + static_cast<std::ptrdiff_t>(share), samples.end());
    } else {
      samples.erase(samples.begin(), at);
    }
  }
  if (samples.size() > 1 && !may_hold(row, (samples.size() - 1) * mean)) samples = {sample};
  if (has_headroom(samples.size() * mean) && read_samples(segment, samples, true)) {
    return segment.part_of(sample);
  }
  if (!head) return nullptr;
  return cover_sample(segment, row);
}

// The consumer waits for this very batch: takes what is needed now and nothing else.
Part* FetchEngine::cover_sample(Segment& segment, const PlanRow& row) {
  const uint64_t sample = segment.samples[row.index];
  if (!read_samples(segment, {sample}, false) &&
      !(make_room(row, sample) && read_samples(segment, {sample}, false))) {
    return nullptr;
  }
  if (segment.samples.size() > 1) metrics_.singles.add();
  return segment.part_of(sample);
}

// Takes memory for all of `samples` and queues their reads, or does neither.
bool FetchEngine::read_samples(Segment& segment, const std::vector<uint64_t>& samples, bool keep_headroom) {
  const FetchSource& source = deps_.sources[segment.source];
  const std::vector<RowRun> runs =
      source.units ? unit_runs(samples, *source.units)
                   : row_runs(samples, *source.index, *source.counts, options_.gap_bytes_max);
  const GivingUp giving_up(this);  // outlives `parts`
  const uint64_t later_before = later_bytes(segment);
  std::vector<std::shared_ptr<Part>> parts;
  for (const RowRun& run : runs) {
    if (run.unit) {
      if (std::shared_ptr<Part> kept = kept_part(segment.source, source.units->counts().first(*run.unit))) {
        segment.parts.push_back(std::move(kept));
        continue;
      }
    }
    const uint64_t bytes = run_charge(segment.source, run);
    const uint64_t made = run.unit ? 0 : bytes * made_share_[segment.source] / kMadeUnit;
    if (keep_headroom && !has_headroom(bytes + made)) return false;
    std::shared_ptr<Part> part = take_part(segment, run);
    if (!part) return false;  // the parts taken so far give their memory back
    parts.push_back(std::move(part));
  }
  for (auto& part : parts) {
    batches_.back().bytes_opened += part->bytes;
    part->due = static_cast<uint32_t>(batches_.back().number);
    bytes_ahead_ += part->bytes;
    segment.parts.push_back(part);
    queue_.push_back(std::move(part));
  }
  later_bytes_ += later_bytes(segment) - later_before;
  return true;
}

std::shared_ptr<Part> FetchEngine::take_part(Segment& segment, const RowRun& run) {
  if (run.unit) return take_unit(segment, run);
  const FetchSource& source = deps_.sources[segment.source];
  auto part = std::make_shared<Part>();
  part->segment = &segment;
  part->source = segment.source;
  part->shard = run.shard;
  part->row_begin = run.row_begin;
  part->row_end = run.row_end;
  part->sample_first = source.counts->first(run.shard) + run.row_begin;
  part->range = source.index->range_of_rows(run.shard, run.row_begin, run.row_end);
  part->bytes = part->range.size();
  const uint64_t rows = run.row_end - run.row_begin;
  part->scattered = source.index->stride() == 1 && part->range.size() / rows >= options_.scatter_bytes_min;
  const bool keeps = keeps_strides(segment.source);
  part->cut_late = keeps || (rows > 1 && !part->scattered && run.samples.size() * kFewRowsShare <= rows);
  if (!fill_part(*part, run)) return nullptr;
  if (keeps && keep_places(*part->pieces[0])) {
    part->segment = &keeper_;
    keep(part);
  }
  return part;
}

bool FetchEngine::fill_part(Part& part, const RowRun& run) {
  auto piece_for = [&](uint64_t row_begin, uint64_t row_end, ByteRange range) -> std::shared_ptr<Piece> {
    Buffer buffer = deps_.buffers->take(range.size());
    if (!buffer) return nullptr;
    auto piece = std::make_shared<Piece>();
    piece->shard = run.shard;
    piece->row_begin = row_begin;
    piece->row_end = row_end;
    piece->stored_begin = range.begin;
    piece->source = deps_.buffers;
    piece->buffer = std::move(buffer);
    // Refused: it is for the batch that the consumer waits for, which is read all the same.
    if (const uint64_t guess = made_guess(part, range.size()); guess > 0) {
      (void)piece->decoded.take(deps_.budget, guess);
    }
    return piece;
  };
  if (!part.scattered) {
    part.pieces.push_back(piece_for(run.row_begin, run.row_end, part.range));
    return part.pieces[0] != nullptr;
  }
  size_t next = 0;
  for (uint64_t row = run.row_begin; row < run.row_end; ++row) {
    const ByteRange range = deps_.sources[part.source].index->stride_range(run.shard, row);
    const bool wanted =
        next < run.samples.size() && run.samples[next] == part.sample_first + (row - run.row_begin);
    if (wanted) {
      ++next;
      part.pieces.push_back(piece_for(row, row + 1, range));
      if (!part.pieces.back()) return false;
    } else {
      part.pieces.push_back(nullptr);
      part.holes.push_back(deps_.buffers->take(range.size()));
      if (!part.holes.back()) return false;
    }
  }
  return true;
}

}  // namespace headrace
