// SPDX-License-Identifier: Apache-2.0
//
// What cutting makes beside the stored bytes: chunks and frames unpacked, members of archives inflated, values in other
// forms. Nobody knows how much before it is there, so it is guessed from what was made so far, charged with the read,
// and set right when the piece was cut.
//
// It never stops the batch that the consumer waits for: where that batch does not fit with what was made of it, it is
// no longer counted. So the budget is passed by what was made of one batch at most, and one batch always fits. Reads
// that were sent before the first piece was cut are charged with nothing made: that is counted when it is there.
#include "fetch/engine.h"

namespace headrace {
namespace {
// The guess follows an eighth of the way with each read: one strange chunk is not the rule.
constexpr uint64_t kFollowing = 8;
}  // namespace

uint64_t FetchEngine::made_guess(const Part& part, uint64_t stored_bytes) const {
  if (part.cut_late) return 0;
  return stored_bytes * made_share_[part.source] / kMadeUnit;
}

void FetchEngine::settle_made(Part& part) {
  uint64_t made = 0, stored = 0;
  for (const auto& piece : part.pieces) {
    if (!piece) continue;
    const uint64_t bytes = piece->view.made_bytes();
    piece->decoded.hold(deps_.budget, bytes);
    made += bytes;
    stored += piece->bytes().size();
  }
  if (part.cut_late || stored == 0) return;
  uint64_t& share = made_share_[part.source];
  const uint64_t seen = made * kMadeUnit / stored;
  if (share == 0) share = seen;  // the first one is all that is known
  share = seen > share ? share + (seen - share + kFollowing - 1) / kFollowing : share - (share - seen) / kFollowing;
}

// Bytes that the first batch's pieces no longer count.
uint64_t FetchEngine::forgive_head() {
  if (batches_.empty()) return 0;
  uint64_t forgiven = 0;
  for (const PlannedRow& row : batches_.front().rows) {
    const uint64_t sample = row.segment->samples[row.index];
    Part* part = row.segment->part_of(sample);
    if (part->unit || is_kept(*part) || !part->ready) continue;
    const std::shared_ptr<Piece>& piece = part->piece_of(sample);
    forgiven += piece->decoded.bytes();
    piece->decoded.resize(0);
  }
  return forgiven;
}

}  // namespace headrace
