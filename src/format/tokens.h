// SPDX-License-Identifier: Apache-2.0
//
// Files of tokens (docs/formats/tokens.md): nanoGPT's and Megatron's .bin are numbers one after
// another, llm.c's have a header before them. A sample is a window of so many tokens; windows do not
// overlap and do not cross files, what fills no window at a file's end is left out.
#pragma once

#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "format/mds.h"
#include "format/shard_format.h"

namespace headrace {

// llm.c: 256 x int32: magic, version, number of tokens, zeros.
inline constexpr uint64_t kLlmcHeaderBytes = 1'024;
// Megatron's .idx: magic, u64 version 1, u8 dtype, u64 sequences, u64 documents.
inline constexpr uint64_t kMegatronHeadBytes = 34;
inline constexpr uint64_t kTokenWindowMax = uint64_t{1} << 24;

enum class TokenFiles : uint8_t { kPlain, kLlmc };

// What a sample is; all but windows come from Megatron's .idx (token_documents.h).
enum class TokenSamples : uint8_t { kWindow, kPacked, kSequence, kDocument };

struct TokenSchema {
  TokenFiles files = TokenFiles::kPlain;
  TokenSamples samples = TokenSamples::kWindow;
  bool boundaries = false;  // of windows: where the .idx's documents begin is said
  bool modes = false;       // of sequences: the .idx has them
  MdsDtype dtype = MdsDtype::kUint16;  // an integer type
  uint64_t window = 0;
  std::optional<int64_t> eos;

  uint64_t header_bytes() const { return files == TokenFiles::kLlmc ? kLlmcHeaderBytes : 0; }
  uint64_t window_bytes() const { return window * mds_dtype_bytes(dtype); }
  bool by_idx() const { return samples != TokenSamples::kWindow || boundaries; }
  bool has_window() const { return samples == TokenSamples::kWindow || samples == TokenSamples::kPacked; }
  std::string json() const;
  static Result<TokenSchema> from_json(std::string_view text);
};

// What the first bytes of a .bin say: the dtype of an llm.c file; nothing: no header that is known.
std::optional<MdsDtype> llmc_dtype(Bytes front);
// The dtype of the tokens beside this head of an .idx. kCorrupt: no Megatron index of version 1.
Result<MdsDtype> megatron_dtype(Bytes idx_head);
// "uint16" and so on; kInvalidArgument lists the ones that tokens can have.
Result<MdsDtype> token_dtype_of(std::string_view name);
// "" is "window"; kInvalidArgument lists the words.
Result<TokenSamples> token_samples_of(std::string_view name);

class TokenCutter final : public Cutter {
 public:
  explicit TokenCutter(const TokenSchema& schema) : schema_(schema) {}
  Status cut(Bytes bytes, uint64_t rows, SampleBatchView& out) const override;
  Status find_rows(const CutPlace& place, Bytes bytes, uint64_t rows, std::vector<uint32_t>& begins) const override;

 private:
  const TokenSchema schema_;
};

// Reads nothing of plain files, of llm.c's their header; with options.crc all.
std::unique_ptr<Indexer> make_token_indexer(const TokenSchema& schema, uint64_t object_size,
                                            IndexerOptions options = {});
std::shared_ptr<const ShardFormat> make_token_format(const TokenSchema& schema);

}  // namespace headrace
