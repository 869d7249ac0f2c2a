// SPDX-License-Identifier: Apache-2.0
//
// Parquet files without their pages: the footer and the offset indexes, found from the file's end and checked against
// its size (docs/formats/parquet.md). Pages are never looked into here: parquet_unit.h makes small files of them, which
// another library decodes.
#pragma once

#include <memory>

#include "format/indexer.h"
#include "format/shard_format.h"
#include "format/unit_table.h"

namespace headrace {

inline constexpr uint64_t kParquetTailBytes = 64 << 10;         // read first: holds most footers
inline constexpr uint64_t kParquetFooterBytesMax = 256 << 20;   // of one file
inline constexpr uint64_t kParquetPageIndexBytesMax = 256 << 20;

// The footer's Thrift bytes; `object_size` of the file, `footer_begin` where they lie in it. Chunks are inside
// [4, footer_begin), rows and sizes do not contradict each other. `offset_indexes`: one range a chunk, group by group,
// empty where there is none.
struct ParquetFooter {
  UnitFile file;  // without pages and cuts
  std::vector<ByteRange> offset_indexes;
};
Result<ParquetFooter> parse_parquet_footer(Bytes footer, uint64_t footer_begin);

// The pages of a chunk, from its offset index. Nothing where they are not one after another up to the chunk's end (the
// chunk is then read whole); kCorrupt where they contradict the chunk.
Status parse_offset_index(Bytes index, uint64_t rows, UnitChunk& chunk);

// Reads the tail, the rest of the footer where it is larger, and the offset indexes (one range, where they are not in
// the tail). ShardIndex::units is set.
std::unique_ptr<Indexer> make_parquet_indexer(uint64_t object_size);

std::shared_ptr<const ShardFormat> make_parquet_format();

}  // namespace headrace
