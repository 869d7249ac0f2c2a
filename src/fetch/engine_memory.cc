// SPDX-License-Identifier: Apache-2.0
//
// Memory that is given back: lane residency can be dropped and read again, bytes in flight cannot.
#include <algorithm>
#include <string>
#include <tuple>

#include "fetch/engine.h"
#include "format/dataset_index.h"
#include "plan/defaults.h"

namespace headrace {
namespace {
// Of batches that are out, slots and samples take about the same, and a third is for whatever is in flight.
constexpr uint64_t kRoomyShare = 3;
// How long an engine plans nothing beyond its head after another claimant asked for memory, and how often a blocked
// head looks again although no release was seen. Both are short against a batch and long against a release.
constexpr Nanos kYield = std::chrono::milliseconds(20);
}  // namespace

bool FetchEngine::has_headroom(uint64_t bytes) const {
  return deps_.budget->used() + *headroom_bytes_ + options_.spare_bytes + bytes <= deps_.budget->bytes_max();
}

// Smaller slots than were told at the start leave room for reading ahead. Not where that is tight: the batches that are
// out must all find theirs if they turn out to be larger after all, and nothing that they hold can be given back.
void FetchEngine::expect_slots(uint64_t slot_bytes) {
  const uint64_t max = deps_.budget->bytes_max();
  const uint64_t all = options_.slots * options_.slot_bytes;
  if (slot_bytes < options_.slot_bytes && kRoomyShare * all > max) return;
  const uint64_t counted = std::min(all, options_.headroom_bytes);
  executor_.post([self = shared_from_this(), slot_bytes, counted] {
    self->slot_bytes_ = slot_bytes;
    *self->headroom_bytes_ =
        self->options_.headroom_bytes - counted + std::min<uint64_t>(self->options_.slots * slot_bytes, counted);
    self->pump();
  });
}

// Whether lanes can hold whole blocks is known beforehand. A state that was made for more ranks has lanes for their
// memory; what would be dropped again before its turn is then not read with its neighbours, but when its turn comes.
void FetchEngine::size_lanes() {
  const uint64_t max = deps_.budget->bytes_max();
  const uint64_t usable = max - std::min(max, options_.headroom_bytes);
  later_bytes_max_ = usable / 2;
  double expected = 0;
  for (uint32_t i = 0; i < deps_.sources.size(); ++i) {
    const FetchSource& source = deps_.sources[i];
    const uint64_t mean = source.sample_bytes_mean();
    const bool scattered = !source.units && source.index->stride() == 1 && mean >= options_.scatter_bytes_min;
    const double samples = static_cast<double>(plan_.lane_samples(i)) / plan_.world();
    expected += (scattered ? kResidentShare : kResidentShareByBlock) * samples * static_cast<double>(mean);
  }
  lanes_fit_ = expected <= static_cast<double>(usable);
}

// May `bytes` be read with this row for rows to come? In the tail all blocks open at once, and may not fit where those
// of the main part do.
bool FetchEngine::may_hold(const PlanRow& row, uint64_t bytes) {
  return (lanes_fit_ && !plan_.in_tail(row)) || later_bytes_ + bytes <= later_bytes_max_;
}

// Of what the segment has or will have: for rows that are not planned yet.
uint64_t FetchEngine::later_bytes(const Segment& segment) const {
  if (keeps_strides(segment.source)) return 0;  // the store's memory
  uint64_t samples = 0;
  for (size_t k = 0; k < segment.samples.size(); ++k) {
    samples += segment.wanted[k] && segment.part_of(segment.samples[k]) != nullptr ? 1 : 0;
  }
  return samples * deps_.sources[segment.source].sample_bytes_mean();
}

void FetchEngine::give_back(uint64_t bytes) {
  executor_.post([self = shared_from_this(), bytes] {
    if (self->closed_ || self->ended_) return;
    self->yield_until_ = self->executor_.clock().now() + kYield;
    self->rewind_to(1);
    if (self->evict(bytes) < bytes && self->downstream_ > 0) {
      // Batches further on wait for it, and the consumer waits for them: even the next one's plan goes.
      self->rewind_to(0);
      self->evict(bytes);
    }
    self->executor_.post_at(self->yield_until_, [weak = self->weak_from_this()] {
      if (auto engine = weak.lock()) engine->post_pump();
    });
  });
}

// The head's row found no memory even for itself. True: some was freed, try again now. False: wait for a release, or
// the stream has ended because it can never fit.
bool FetchEngine::make_room(const PlanRow& row, uint64_t sample) {
  const uint64_t bytes = charge_of(row.source, sample).bytes;
  if (!fits_one_batch(row)) return false;
  if (downstream_ > 0) return false;  // memory comes back when the consumer takes what it has
  if (evict(bytes) >= bytes) return true;
  if (in_flight_ == 0 && queue_.empty() && head_shares_ranges()) {
    plan_head_by_sample();
    return false;
  }
  if (forgive_head() > 0) return true;
  deps_.budget->shortfall(listener_, bytes);
  if (!retry_posted_) {
    retry_posted_ = true;
    executor_.post_at(executor_.clock().now() + kYield, [weak = weak_from_this()] {
      if (auto self = weak.lock()) {
        self->retry_posted_ = false;
        self->post_pump();
      }
    });
  }
  return false;
}

// What has to be held for this sample alone.
FetchEngine::Charge FetchEngine::charge_of(uint32_t source, uint64_t sample) const {
  const FetchSource& from = deps_.sources[source];
  if (from.units) {
    const RowRun run = unit_runs({sample}, *from.units)[0];
    return {run.row_begin, run_charge(source, run)};
  }
  const ShardCounts::At at = from.counts->locate(sample);
  const ByteRange range = from.index->range_of_rows(at.shard, at.row, at.row + 1);
  return {range.begin, deps_.buffers->charge(range.size())};
}

// Could the head, with this row, ever fit, each row read on its own (two of one segment and stride together)? Else the
// stream ends here.
bool FetchEngine::fits_one_batch(const PlanRow& row) {
  std::vector<std::tuple<const Segment*, uint64_t, uint64_t, uint64_t>> reads;  // shard, where it begins, its bytes
  const auto add = [&](const Segment& segment, uint32_t index) {
    const uint64_t sample = segment.samples[index];
    const Charge charge = charge_of(segment.source, sample);
    const uint64_t shard = deps_.sources[segment.source].counts->locate(sample).shard;
    reads.emplace_back(&segment, shard, charge.begin, charge.bytes);
  };
  add(open_segment(row), row.index);
  for (const PlannedRow& planned : batches_.front().rows) add(*planned.segment, planned.index);
  std::ranges::sort(reads);
  reads.erase(std::unique(reads.begin(), reads.end()), reads.end());
  uint64_t head_bytes = 0;
  for (const auto& read : reads) head_bytes += std::get<3>(read);
  if (head_bytes <= deps_.budget->bytes_max()) return true;
  const UnitSource* units = deps_.sources[row.source].units.get();
  uint64_t largest = 0;
  for (const auto& read : reads) largest = std::max(largest, std::get<3>(read));
  end(exhausted("plan the batch at position " + std::to_string(row.position) + ": " + deps_.budget->name() + " of " +
                std::to_string(deps_.budget->bytes_max()) + " bytes is too small for one batch of " +
                std::to_string(plan_.rows_per_batch()) + " samples (" + std::to_string(head_bytes) +
                " bytes so far)" +
                (units ? ", decoded in units of up to " + std::to_string(largest) + " bytes: " +
                             units->smaller_units_hint() + ", raise memory= or lower lanes= or batch_size="
                       : std::string("; raise memory= or lower batch_size="))));
  return false;
}

bool FetchEngine::head_shares_ranges() const {
  const PlannedBatch& head = batches_.front();
  if (by_sample_ == head.number) return false;
  return std::ranges::any_of(head.rows, [this](const PlannedRow& row) {
    const Part& part = *row.segment->part_of(row.segment->samples[row.index]);
    return !part.unit && !part.scattered && part.row_end - part.row_begin > deps_.sources[part.source].index->stride();
  });
}

void FetchEngine::plan_head_by_sample() {
  by_sample_ = batches_.front().number;
  rewind_to(0);
  post_pump();
}

// A batch that is out holds its pieces until it has its slot, and neither can be given back: all of it must fit at
// once, or the batches that are out would wait for memory for ever.
bool FetchEngine::may_leave(const PlannedBatch& batch) {
  const uint64_t slots = slot_bytes_ * (downstream_ + 1);
  const uint64_t needed = deps_.budget->used() + slots, max = deps_.budget->bytes_max();
  if (slots == 0 || needed <= max || reclaimable(batch, needed - max) >= needed - max) return true;
  if (downstream_ > 0) return false;  // when one is gone
  if (!head_shares_ranges()) {  // it cannot hold less
    forgive_head();
    return true;
  }
  plan_head_by_sample();
  return false;
}

// Bytes that could be given back if this batch left; counts no further than `enough`.
uint64_t FetchEngine::reclaimable(const PlannedBatch& batch, uint64_t enough) const {
  std::vector<const Piece*> own;
  for (const PlannedRow& row : batch.rows) {
    const uint64_t sample = row.segment->samples[row.index];
    own.push_back(row.segment->part_of(sample)->piece_of(sample).get());
  }
  std::ranges::sort(own);
  uint64_t bytes = 0;
  for (const auto& [key, segment] : segments_) {
    for (const auto& part : segment->parts) {
      if (is_kept(*part)) continue;
      for (const auto& piece : part->pieces) {
        if (!piece || piece.use_count() > 1 || std::ranges::binary_search(own, piece.get())) continue;
        bytes += piece->charged();
      }
      if (bytes >= enough) return bytes;
    }
  }
  return bytes;
}

// Drops what no planned row refers to, the latest needed first. Returns the bytes freed.
uint64_t FetchEngine::evict(uint64_t bytes) {
  std::vector<Segment*> by_need;
  by_need.reserve(segments_.size());
  for (auto& [key, segment] : segments_) by_need.push_back(segment.get());
  std::ranges::sort(by_need, [](const Segment* a, const Segment* b) {
    return std::tie(a->epoch, a->last_position) > std::tie(b->epoch, b->last_position);
  });
  uint64_t freed = 0;
  for (Segment* segment : by_need) {
    if (freed >= bytes) break;
    freed += drop_idle_memory(*segment);
  }
  return freed + drop_kept(bytes - std::min(freed, bytes));
}

uint64_t FetchEngine::drop_idle_memory(Segment& segment) {
  uint64_t freed = 0;
  const uint64_t later_before = later_bytes(segment);
  std::erase_if(segment.parts, [&](const std::shared_ptr<Part>& part) {
    if (is_kept(*part)) return may_drop(*part) && part->ready && part->planned == 0;  // drop_kept() sees to it
    if (part->sent && !part->ready) return false;  // in flight
    if (part->planned > 0 && !(part->ready && part->scattered)) return false;
    bool shared = false;
    for (auto& piece : part->pieces) {
      if (!piece || piece->planned > 0) continue;
      if (piece.use_count() > 1) {  // with a batch that is out: dropping it would free nothing
        shared = true;
        continue;
      }
      freed += piece->charged();
      metrics_.evicted.add(piece->row_end - piece->row_begin);
      piece = nullptr;
    }
    if (part->planned > 0 || shared) return false;
    part->segment = nullptr;  // a queued part is then skipped
    part->pieces.clear();
    part->holes.clear();
    return true;
  });
  later_bytes_ -= later_before - later_bytes(segment);
  return freed;
}

// Takes back the plans of the last batches, until `batches_kept` are left.
void FetchEngine::rewind_to(size_t batches_kept) {
  while (batches_.size() > batches_kept) {
    PlannedBatch& batch = batches_.back();
    for (const PlannedRow& row : batch.rows) {
      Segment& segment = *row.segment;
      const uint64_t sample = segment.samples[row.index];
      Part* part = segment.part_of(sample);
      --part->planned;
      if (part->scattered) --part->piece_of(sample)->planned;
      std::erase(part->waiting, batch.number);
      if (row.valid && !segment.wanted[row.index]) {
        segment.wanted[row.index] = true;
        if (!keeps_strides(segment.source)) later_bytes_ += deps_.sources[segment.source].sample_bytes_mean();
      } else {
        --segment.rows_left;
      }
    }
    std::vector<Segment*> touched;
    for (const PlannedRow& row : batch.rows) touched.push_back(row.segment);
    std::ranges::sort(touched);
    touched.erase(std::unique(touched.begin(), touched.end()), touched.end());
    rows_ahead_ -= batch.rows.size();
    bytes_ahead_ -= batch.bytes_opened;
    plan_.rewind(batch.before);
    next_number_ = batch.number;
    batches_.pop_back();
    for (Segment* segment : touched) close_if_done(*segment);
  }
  plan_over_ = false;
  if (batches_.empty() || batches_.back().complete) {
    pending_rows_.clear();
    pending_at_ = 0;
  }
}

}  // namespace headrace
