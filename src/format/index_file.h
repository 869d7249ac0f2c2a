// SPDX-License-Identifier: Apache-2.0
//
// The sidecar index as an object: docs/formats/index.md has the grammar and a worked example.
// Immutable, named by the XXH3-128 of its bytes, coarse levels before fine ones, so that a reader
// takes the head and the level that fits its memory. Bytes in, values out; nothing here reads or
// writes objects.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/result.h"
#include "format/dataset_index.h"

namespace headrace {

inline constexpr std::string_view kIndexSuffix = ".hridx";
inline constexpr uint64_t kIndexHeaderBytesMax = 4'096;  // a reader's first range
inline constexpr uint64_t kIndexLevelBytes = uint64_t{16}
                                             << 20;  // default for the level that is loaded at open
inline constexpr uint64_t kIndexTableBytesMax = uint64_t{4} << 30;

// "<32 hex digits>.hridx"
std::string index_file_name(Bytes file);

std::string encode_index(const DatasetIndex& index);

struct IndexLevel {
  uint64_t stride = 1;
  ByteRange range;  // in the file
};

// The first bytes of the file: where everything else is.
struct IndexHead {
  Format format = Format::kWebDataset;
  bool has_crc = false;
  bool has_units = false;
  uint64_t file_bytes = 0;
  uint64_t samples = 0;
  Hash128 order_hash;
  Hash128 identity_hash;
  ByteRange tables;                // shards, fields, schema: one range, read whole
  std::vector<IndexLevel> levels;  // coarse to fine; never empty

  // The finest level of at most `bytes_max` bytes; the coarsest when none is.
  const IndexLevel& level_within(uint64_t bytes_max) const;
};

// `first` = the file's first bytes, min(file size, kIndexHeaderBytesMax) of them. kCorrupt, or
// kUnsupported for a version this headrace does not know.
Result<IndexHead> parse_index_head(Bytes first);

// `tables` and `level_bytes` are the bytes of head.tables and level.range. Everything is checked:
// checksums, bounds, order, and that the hashes in the head are those of the contents.
Result<std::shared_ptr<const DatasetIndex>> decode_index(const IndexHead& head, Bytes tables,
                                                         const IndexLevel& level,
                                                         Bytes level_bytes);

struct IndexDecodeOptions {
  uint64_t level_bytes_max = UINT64_MAX;  // finest level by default
  std::string name;                       // when given: the file's name, checked against its bytes
  const Hash128* order_hash = nullptr;    // when given: another data set's index is kPrecondition
};
// The whole file at once.
Result<std::shared_ptr<const DatasetIndex>> decode_index(Bytes file,
                                                         const IndexDecodeOptions& options = {});

// SHARD.idx, the layout Megatron-Energon reads: N + 1 little-endian uint64. Needs a stride of 1
// (kUnsupported else).
Result<std::string> encode_energon_idx(const DatasetIndex& index, uint64_t shard);
// The borders; kCorrupt unless they increase and end within `object_size`.
Result<std::vector<uint64_t>> decode_energon_idx(Bytes file, uint64_t object_size);

}  // namespace headrace
