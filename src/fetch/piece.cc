// SPDX-License-Identifier: Apache-2.0
#include "fetch/piece.h"

#include "format/dataset_index.h"

namespace headrace {

Status verify_piece(const Piece& piece, const DatasetIndex& index) {
  if (!index.has_crc()) return {};
  const uint64_t first = index.stride_of_row(piece.row_begin);
  const uint64_t last = index.stride_of_row(piece.row_end - 1);
  return index.verify(piece.shard, first, last - first + 1, piece.buffer.bytes());
}

void cut_piece(Piece& piece, const Cutter& cutter) {
  piece.status = cutter.cut_at({piece.shard, piece.row_begin, piece.stored_begin}, piece.buffer.bytes(),
                               piece.row_end - piece.row_begin, piece.view);
}

}  // namespace headrace
