// SPDX-License-Identifier: Apache-2.0
//
// LitData's chunks (docs/formats/litdata.md): an index.json over chunks; a chunk is a table of
// offsets like MDS's and concatenated items; an item is the sizes of its leaves, then the leaves.
// Items of the PyTreeLoader, in plain chunks or chunks compressed as a whole.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "format/mds.h"
#include "format/shard_format.h"

namespace headrace {

// How a leaf is stored, beyond what an MDS encoding says of it.
enum class LeafForm : uint8_t {
  kAsItIs,
  kNumpy,      // u32 dtype, u32 rank, u32 shape[rank], little-endian, then the values
  kTensor,     // the same
  kNumpyFlat,  // values of one dimension, the dtype in data_format
  kTensorFlat,
};
struct LitDataLeaf {
  std::string stored;  // the entry of data_format
  LeafForm form = LeafForm::kAsItIs;
  MdsDtype dtype = MdsDtype::kNone;  // of the flat forms
};

// What is compressed on its own inside a chunk (zstd).
enum class LitDataFraming : uint8_t {
  kNone,    // nothing, or the chunk as a whole
  kSample,  // each item, behind the usual table of offsets
  kBatch,   // items a batch, behind a table of frames: "LDFZ01"
};
struct LitDataIndex {
  std::vector<MdsColumn> columns;   // one a leaf, in stored order
  std::vector<LitDataLeaf> leaves;  // the same
  std::vector<MdsShard> chunks;     // basename, samples; zip_basename where they are compressed
  LitDataFraming framing = LitDataFraming::kNone;
  // TokensLoader: items are tokens without sizes before them, and windows are cut without regard to items.
  bool tokens = false;
  // Every leaf may also be stored as a column of Arrow rows (0.2.76); the chunks' ends say whether they are.
  bool maybe_rows = false;
  bool has_json = false;  // a leaf that is in such rows only

  std::string schema_json() const;
  static Result<LitDataIndex> from_schema(std::string_view text);
};

// kUnsupported: encrypted chunks, other loaders and other framings than the ones above.
Result<LitDataIndex> parse_litdata_index(Bytes json);
// Whether an index.json is LitData's and not mosaicml-streaming's: by the keys in it.
bool is_litdata_index(std::string_view json);
// The chunks' objects, without sizes and ETags.
std::vector<ShardEntry> litdata_entries(const LitDataIndex& index);
// The column of a leaf that is stored as `stored`, an entry of data_format, says.
Result<std::pair<MdsColumn, LitDataLeaf>> litdata_column(const std::string& name,
                                                         const std::string& stored);

class LitDataCutter final : public Cutter {
 public:
  explicit LitDataCutter(LitDataIndex index) : index_(std::move(index)) {}
  Status cut(Bytes bytes, uint64_t rows, SampleBatchView& out) const override;
  // kUnsupported for frames of many items, which must be decompressed together.
  Status find_rows(const CutPlace& place, Bytes bytes, uint64_t rows, std::vector<uint32_t>& begins) const override;

 private:
  // Up to `rows` items from the front of `plain`, which becomes what is left.
  Status cut_items(Bytes& plain, uint64_t rows, SampleBatchView& out) const;
  Status cut_frames(Bytes stored, uint64_t rows, SampleBatchView& out) const;

  const LitDataIndex index_;
};

std::shared_ptr<const ShardFormat> make_litdata_format(LitDataIndex index);
// Chunks of tokens (index.tokens), cut into windows as the user says: format kTokens from there on.
Result<std::shared_ptr<const ShardFormat>> make_litdata_token_format(const LitDataIndex& index,
                                                                     const TokenOptions& options);
// The last bytes of a chunk of Arrow rows, 12 at least.
bool is_litdata_rows(Bytes tail);
// Such chunks: format kArrow from there on, fields are the rows' columns.
std::shared_ptr<const ShardFormat> make_litdata_rows_format(const LitDataIndex& index);
// A chunk of frames: reads its tables; with options.crc all. The stride is the frames' samples.
std::unique_ptr<Indexer> make_litdata_batch_indexer(const LitDataIndex& index, uint64_t samples, uint64_t object_size,
                                                    IndexerOptions options);

}  // namespace headrace
