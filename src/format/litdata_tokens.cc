// SPDX-License-Identifier: Apache-2.0
//
// LitData's TokensLoader: a chunk's table of offsets, and behind it nothing but tokens, which are cut into windows
// without regard to where items end, as litdata's reader does. Beside the table it is a token file (tokens.h).
#include <algorithm>

#include "base/crc32c.h"
#include "base/endian.h"
#include "format/litdata.h"
#include "format/tokens.h"

namespace headrace {
namespace {

std::string number(uint64_t n) { return std::to_string(n); }

// Reads the table and hands everything behind it to the indexer of a plain token file.
class LitDataTokenIndexer final : public Indexer {
 public:
  LitDataTokenIndexer(const TokenSchema& schema, uint64_t items, uint64_t size, IndexerOptions options)
      : items_(items), head_bytes_(4 * (items + 2)), size_(size), crc_(options.crc) {
    TokenSchema plain = schema;
    plain.files = TokenFiles::kPlain;
    if (size >= head_bytes_) tokens_ = make_token_indexer(plain, size - head_bytes_, options);
  }

  Result<IndexStep> next(Bytes bytes) override {
    if (size_ < head_bytes_) {
      return corrupt("index LitData chunk: " + number(size_) + " bytes cannot hold the offsets of " + number(items_) +
                     " items");
    }
    if (crc_) object_crc_ = crc32c(bytes, object_crc_);
    const auto n = static_cast<size_t>(std::min<uint64_t>(bytes.size(), head_bytes_ - head_.size()));
    head_.append(as_text(bytes.first(n)));
    if (head_.size() < head_bytes_) return IndexStep{{head_.size(), crc_ ? size_ : head_bytes_}, std::nullopt};
    if (n > 0) HR_TRY(check_table());
    HR_TRY_ASSIGN(IndexStep step, tokens_->next(bytes.subspan(n)));
    step.need = {step.need.begin + head_bytes_, step.need.end + head_bytes_};
    if (step.done) {
      for (uint64_t& border : step.done->borders) border += head_bytes_;
      if (crc_) step.done->checksum = crc32c_text(object_crc_);
    }
    return step;
  }

 private:
  Status check_table() const {
    const auto word = [&](uint64_t i) { return load_le<uint32_t>(head_.data() + 4 * i); };
    if (word(0) != items_) {
      return corrupt("index LitData chunk: it has " + number(word(0)) + " items, index.json says " + number(items_));
    }
    for (uint64_t i = 1; i <= items_; ++i) {
      if (word(i + 1) >= word(i)) continue;
      return corrupt("index LitData chunk: item " + number(i - 1) + " ends before it begins");
    }
    if (word(1) == head_bytes_ && word(items_ + 1) == size_) return {};
    return corrupt("index LitData chunk: its items are bytes " + number(word(1)) + " to " + number(word(items_ + 1)) +
                   ", the object's are " + number(head_bytes_) + " to " + number(size_));
  }

  const uint64_t items_, head_bytes_, size_;
  const bool crc_;
  std::string head_;
  uint32_t object_crc_ = 0;
  std::unique_ptr<Indexer> tokens_;
};

class LitDataTokenFormat final : public ShardFormat {
 public:
  LitDataTokenFormat(std::vector<MdsShard> chunks, const TokenSchema& schema)
      : chunks_(std::move(chunks)), schema_(schema), windows_(make_token_format(schema)) {}
  Format format() const override { return Format::kTokens; }
  std::string schema_json() const override { return windows_->schema_json(); }
  std::vector<MdsColumn> columns() const override { return windows_->columns(); }
  std::vector<FieldEntry> fields() const override { return windows_->fields(); }
  std::shared_ptr<const Cutter> cutter(const std::vector<FieldEntry>& fields) const override {
    return windows_->cutter(fields);
  }
  std::unique_ptr<Indexer> indexer(uint64_t shard, const ShardEntry& entry, IndexerOptions options) const override {
    HR_ASSERT(shard < chunks_.size());
    return std::make_unique<LitDataTokenIndexer>(schema_, chunks_[shard].samples, entry.size, options);
  }
  bool indexed_by_reading() const override { return false; }
  bool streams() const override { return false; }
  std::unique_ptr<SampleScanner> scanner(uint64_t, const ScanStart&) const override { return nullptr; }

 private:
  const std::vector<MdsShard> chunks_;
  const TokenSchema schema_;
  const std::shared_ptr<const ShardFormat> windows_;
};

}  // namespace

Result<std::shared_ptr<const ShardFormat>> make_litdata_token_format(const LitDataIndex& index,
                                                                     const TokenOptions& options) {
  if (options.window == 0 || options.window > kTokenWindowMax) {
    return invalid_argument("chunks of tokens (TokensLoader) need window=, litdata's block_size, at most " +
                            number(kTokenWindowMax));
  }
  const MdsDtype dtype = index.leaves.empty() ? MdsDtype::kNone : index.leaves[0].dtype;
  const auto known = token_dtype_of(mds_dtype_name(dtype));
  if (index.leaves.size() != 1 || !known.ok()) {
    return unsupported("TokensLoader with data_format \"" + (index.leaves.empty() ? "" : index.leaves[0].stored) +
                       "\": tokens are integers without a head, no_header_tensor or no_header_numpy");
  }
  if (!options.dtype.empty() && options.dtype != mds_dtype_name(dtype)) {
    return invalid_argument("token_dtype=\"" + options.dtype + "\", but the data say " +
                            std::string(mds_dtype_name(dtype)));
  }
  if ((!options.samples.empty() && options.samples != "window") || options.boundaries) {
    return invalid_argument("samples= and boundaries= are for Megatron's files, whose .idx says where documents are");
  }
  TokenSchema schema;
  schema.dtype = dtype;
  schema.window = options.window;
  schema.eos = options.eos;
  return std::shared_ptr<const ShardFormat>(std::make_shared<LitDataTokenFormat>(index.chunks, schema));
}

}  // namespace headrace
