// SPDX-License-Identifier: Apache-2.0
//
// Memory that is given back: lane residency can be dropped and read again, bytes in flight cannot.
#include <algorithm>
#include <string>

#include "fetch/engine.h"
#include "format/dataset_index.h"

namespace headrace {
namespace {
// How long an engine plans nothing beyond its head after another claimant asked for memory, and how often a blocked
// head looks again although no release was seen. Both are short against a batch and long against a release.
constexpr Nanos kYield = std::chrono::milliseconds(20);
}  // namespace

bool FetchEngine::has_headroom(uint64_t bytes) const {
  return deps_.budget->used() + options_.headroom_bytes + bytes <= deps_.budget->bytes_max();
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
  const FetchSource& source = deps_.sources[row.source];
  const ShardCounts::At at = source.counts->locate(sample);
  const uint64_t bytes =
      deps_.buffers->charge(source.index->range_of_rows(at.shard, at.row, at.row + 1).size());
  uint64_t head_bytes = bytes;
  for (const PlannedRow& planned : batches_.front().rows) {
    const uint64_t id = planned.segment->samples[planned.index];
    Part* part = planned.segment->part_of(id);
    const auto& piece = part->piece_of(id);
    head_bytes += part->scattered ? piece->buffer.charged() : piece->buffer.charged() / part->planned;
  }
  if (head_bytes > deps_.budget->bytes_max()) {
    end(exhausted("plan the batch at position " + std::to_string(row.position) + ": " +
                  deps_.budget->name() + " of " + std::to_string(deps_.budget->bytes_max()) +
                  " bytes is too small for one batch of " + std::to_string(plan_.rows_per_batch()) +
                  " samples (" + std::to_string(head_bytes) +
                  " bytes so far); raise memory= or lower batch_size="));
    return false;
  }
  if (downstream_ > 0) return false;  // memory comes back when the consumer takes what it has
  if (evict(bytes) >= bytes) return true;
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
  return freed;
}

uint64_t FetchEngine::drop_idle_memory(Segment& segment) {
  uint64_t freed = 0;
  std::erase_if(segment.parts, [&](const std::shared_ptr<Part>& part) {
    if (part->sent && !part->ready) return false;  // in flight
    if (part->planned > 0 && !(part->ready && part->scattered)) return false;
    for (auto& piece : part->pieces) {
      if (!piece || piece->planned > 0) continue;
      freed += piece->buffer.charged();
      metrics_.evicted.add(piece->row_end - piece->row_begin);
      piece = nullptr;
    }
    if (part->planned > 0) return false;
    part->segment = nullptr;  // a queued part is then skipped
    part->pieces.clear();
    part->holes.clear();
    return true;
  });
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
      } else {
        --segment.rows_left;
      }
    }
    std::vector<Segment*> touched;
    for (const PlannedRow& row : batch.rows) touched.push_back(row.segment);
    std::ranges::sort(touched);
    touched.erase(std::ranges::unique(touched).begin(), touched.end());
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
