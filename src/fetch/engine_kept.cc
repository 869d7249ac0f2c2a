// SPDX-License-Identifier: Apache-2.0
//
// What the engine keeps for the rest of a pass: units that all fit in memory, and strides of a small data set whose
// store keeps every byte (cache/keep_store.h). There single samples are asked for, in any order, and many of them lie
// in one stride: it is borrowed from the store, checked and taken apart at its first row, and its other rows find it.
//
// A stride costs little to hold (its bytes are the store's): it is let go whenever memory is wanted, and is checked
// again when it is borrowed again. Units stay where all of them fit (KeepUnits): to decode one again costs more than
// the rest of a batch.
#include "fetch/engine.h"
#include "format/dataset_index.h"

namespace headrace {
namespace {
// Of the engine's own memory for a kept stride: the part, its piece and their places in lists, by the sizes of what
// they consist of (700 to 800), rounded up.
constexpr uint64_t kKeptPartBytes = 1024;
}  // namespace

bool FetchEngine::keeps_strides(uint32_t source) const {
  const FetchSource& from = deps_.sources[source];
  return from.lender && !from.units && from.index->stride() > 1;
}

std::shared_ptr<Part> FetchEngine::kept_part(uint32_t source, uint64_t sample_first) const {
  const auto found = kept_.find({source, sample_first});
  return found == kept_.end() ? nullptr : found->second;
}

// Null: nothing that is kept has it.
Part* FetchEngine::cover_from_kept(Segment& segment, uint64_t sample) {
  const FetchSource& source = deps_.sources[segment.source];
  const ShardCounts::At at = source.counts->locate(sample);
  std::shared_ptr<Part> part = kept_part(segment.source, sample - at.row % source.index->stride());
  if (!part) return nullptr;
  segment.parts.push_back(std::move(part));
  return segment.parts.back().get();
}

void FetchEngine::keep(std::shared_ptr<Part> part) {
  const KeptKey key{part->source, part->sample_first};
  kept_.emplace(key, std::move(part));
}

// Memory for what the piece of a kept stride will have beside its bytes.
bool FetchEngine::keep_places(Piece& piece) const {
  return piece.decoded.take(deps_.budget, kKeptPartBytes + (piece.row_end - piece.row_begin) * sizeof(uint32_t));
}

// What it turned out to take: nothing was written to the buffer of what was borrowed, and rows that cannot be told
// apart were cut all at once.
void FetchEngine::settle_kept(Piece& piece) {
  if (piece.lent.owner) piece.buffer = {};
  piece.decoded.resize(kKeptPartBytes + piece.begins.size() * sizeof(uint32_t) + piece.view.memory_bytes());
}

void FetchEngine::borrow(std::shared_ptr<Part> part, ReadRequest request) {
  ByteLender& lender = *deps_.sources[part->source].lender;
  lender.borrow(
      std::move(request),
      [self = shared_from_this(), part = std::move(part)](ReadOutcome outcome, LentBytes lent) mutable {
        // As send() does: a store with several loops answers on the request's own.
        FetchEngine& engine = *self;
        engine.executor_.post([self = std::move(self), part = std::move(part), outcome = std::move(outcome),
                               lent = std::move(lent)]() mutable {
          part->pieces[0]->lent = std::move(lent);
          self->on_read(std::move(part), std::move(outcome));
        });
      },
      stop_.get_token());
}

bool FetchEngine::may_drop(const Part& kept) const {
  return !kept.unit || deps_.sources[kept.source].keep_units == KeepUnits::kWithRoom;
}

// Strides that no row, planned or in a segment, refers to, and of units up to so many bytes. Returns the bytes freed;
// what was borrowed is the store's to free.
uint64_t FetchEngine::drop_kept(uint64_t units_bytes) {
  uint64_t freed = 0;
  std::erase_if(kept_, [&](const auto& entry) {
    const std::shared_ptr<Part>& part = entry.second;
    const bool idle = part->ready && part.use_count() == 1 && part->pieces[0].use_count() == 1;
    if (!idle || !may_drop(*part) || (part->unit && freed >= units_bytes)) return false;
    freed += part->pieces[0]->charged();
    return true;
  });
  return freed;
}

}  // namespace headrace
