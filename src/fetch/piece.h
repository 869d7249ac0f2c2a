// SPDX-License-Identifier: Apache-2.0
//
// Piece: the stored bytes of consecutive samples of one shard, in memory, verified against the index
// and cut into fields. Large samples (FetchOptions::scatter_bytes_min) come one to a piece, so that
// each is freed as soon as it was delivered; small ones a whole range to a piece.
#pragma once

#include <cstdint>
#include <memory>

#include "base/result.h"
#include "format/sample.h"
#include "sys/buffer_source.h"

namespace headrace {

struct Piece {
  uint64_t shard = 0;
  uint64_t row_begin = 0, row_end = 0;  // rows of the shard
  uint64_t stored_begin = 0;            // offset of the first byte in the shard
  std::shared_ptr<BufferSource> source; // outlives `buffer`
  Buffer buffer;
  SampleBatchView view;  // rows row_begin .. row_end - 1; empty when status is not ok
  uint32_t planned = 0;  // rows planned from a scattered piece and not yet handed over (engine thread)
  Status status;         // kCorrupt: the bytes do not cut into these rows (what a bad-sample policy may skip)
};

// Checks the bytes of a piece against the index's CRCs (where it has them): the failing stride's
// range is in the message.
class DatasetIndex;
class Cutter;
Status verify_piece(const Piece& piece, const DatasetIndex& index);
// Fills view and status.
void cut_piece(Piece& piece, const Cutter& cutter);

}  // namespace headrace
