// SPDX-License-Identifier: Apache-2.0
//
// Samples of Megatron's .bin files that follow from what the .idx beside it says of sequences and documents: single
// sequences, documents, windows that say where documents begin, and windows packed with whole documents
// (docs/formats/tokens.md). Which rows there are is a pure function of the .idx and the schema.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "format/shard_format.h"
#include "format/tokens.h"

namespace headrace {

// 20 bytes a sequence: 200 million of them.
inline constexpr uint64_t kMegatronIdxBytesMax = uint64_t{4} << 30;

struct MegatronIdx {
  MdsDtype dtype = MdsDtype::kNone;
  std::vector<uint64_t> ends;      // of each sequence, in tokens
  std::vector<uint64_t> documents; // of each one, how many sequences there are up to its end
  std::vector<int8_t> modes;       // of each sequence, or none
};
// A whole .idx beside a .bin of `bin_bytes`. kCorrupt: it contradicts itself or the .bin.
Result<MegatronIdx> parse_megatron_idx(Bytes idx, uint64_t bin_bytes);

// The rows of one shard, in tokens of its .bin; they lie one behind another.
struct TokenRows {
  std::vector<uint64_t> ends;
  std::vector<uint64_t> marks;  // where documents (kDocument: sequences) end, ascending
  std::vector<int8_t> modes;    // of kSequence, where the .idx has them
};
// Empty sequences and documents are no rows. kPacked: documents in stored order, as many whole ones as a window holds;
// one that is longer begins a window and is cut into windows, its last piece is packed like a document.
TokenRows token_rows(const MegatronIdx& idx, const TokenSchema& schema);

using TokenTables = std::vector<TokenRows>;  // one a shard

class TokenDocumentCutter final : public Cutter {
 public:
  TokenDocumentCutter(const TokenSchema& schema, std::shared_ptr<const TokenTables> tables)
      : schema_(schema), tables_(std::move(tables)) {}
  // Without a place there are no rows.
  Status cut(Bytes bytes, uint64_t rows, SampleBatchView& out) const override;
  Status cut_at(const CutPlace& place, Bytes bytes, uint64_t rows, SampleBatchView& out) const override;
  Status find_rows(const CutPlace& place, Bytes bytes, uint64_t rows, std::vector<uint32_t>& begins) const override;

 private:
  void add_fixed(Bytes tokens, SampleBatchView& out) const;
  void add_marks(const TokenRows& table, uint64_t begin, uint64_t end, SampleBatchView& out) const;

  const TokenSchema schema_;
  const std::shared_ptr<const TokenTables> tables_;
};

// `tables` null: of an index whose .idx files nobody has read yet; it says columns and cuts nothing.
std::shared_ptr<const ShardFormat> make_token_document_format(const TokenSchema& schema,
                                                              std::shared_ptr<const TokenTables> tables);

}  // namespace headrace
