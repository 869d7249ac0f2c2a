// SPDX-License-Identifier: Apache-2.0
#include "fetch/piece.h"

#include <string>

#include "format/dataset_index.h"

namespace headrace {

Status verify_piece(const Piece& piece, const DatasetIndex& index) {
  if (!index.has_crc()) return {};
  const uint64_t first = index.stride_of_row(piece.row_begin);
  const uint64_t last = index.stride_of_row(piece.row_end - 1);
  return index.verify(piece.shard, first, last - first + 1, piece.bytes());
}

void cut_piece(Piece& piece, const Cutter& cutter) {
  piece.status = cutter.cut_at({piece.shard, piece.row_begin, piece.stored_begin}, piece.bytes(),
                               piece.row_end - piece.row_begin, piece.view);
}

void split_piece(Piece& piece, std::shared_ptr<const Cutter> cutter) {
  const Bytes bytes = piece.bytes();
  const uint64_t rows = piece.row_end - piece.row_begin;
  const CutPlace place{piece.shard, piece.row_begin, piece.stored_begin};
  const bool found = bytes.size() <= UINT32_MAX && cutter->find_rows(place, bytes, rows, piece.begins).ok();
  if (found) {
    piece.cutter = std::move(cutter);
    return;
  }
  piece.begins.clear();
  cut_piece(piece, *cutter);
}

void Piece::prefetch(uint64_t row) const {
  if (begins.empty()) return;
  // What a cutter looks at first; of long samples the processor finds the rest by itself.
  constexpr uint64_t kLine = 64, kLines = 8;
  const Bytes all = bytes();
  for (uint64_t line = 0; line < kLines; ++line) {
    const uint64_t at = begins[row] + line * kLine;
    if (at < all.size()) __builtin_prefetch(all.data() + at);
  }
}

Status Piece::make_sample(uint64_t row, SampleBatchView& out) const {
  if (rows) return rows->sample(row, out);
  const Bytes all = bytes();
  const uint64_t begin = begins[row], end = row + 1 < begins.size() ? begins[row + 1] : all.size();
  const CutPlace place{shard, row_begin + row, stored_begin + begin};
  const Status cut = cutter->cut_at(place, all.subspan(begin, end - begin), 1, out);
  return cut.ok() ? cut : cut.with_context("row " + std::to_string(row_begin + row) + " of its shard");
}

}  // namespace headrace
