// SPDX-License-Identifier: Apache-2.0
#include "loader/find_tokens.h"

#include <deque>
#include <future>

#include "base/endian.h"
#include "format/decoder.h"
#include "format/token_documents.h"

namespace headrace {
namespace {

constexpr size_t kReadsAtOnce = 32;

std::string idx_of(const std::string& bin) { return bin.substr(0, bin.rfind('.')) + ".idx"; }

// The fronts of the .idx beside each shard, side by side.
Result<std::vector<std::string>> read_heads(ObjectStore& store, const std::vector<std::string>& keys,
                                            std::stop_token stop) {
  struct Reading {
    std::string text;
    std::promise<Status> done;
  };
  std::deque<std::shared_ptr<Reading>> under_way;
  std::vector<std::string> heads;
  Status fault;
  for (size_t next = 0; heads.size() < keys.size();) {
    if (next < keys.size() && under_way.size() < kReadsAtOnce && fault.ok()) {
      auto reading = std::make_shared<Reading>();
      reading->text.resize(kMegatronHeadBytes);
      ReadRequest request;
      request.key = keys[next++];
      request.range = {0, kMegatronHeadBytes};
      request.dst = {{reinterpret_cast<std::byte*>(reading->text.data()), reading->text.size()}};
      store.read(std::move(request),
                 [reading](ReadOutcome outcome) { reading->done.set_value(std::move(outcome.status)); }, stop);
      under_way.push_back(std::move(reading));
      continue;
    }
    if (under_way.empty()) break;
    Status status = under_way.front()->done.get_future().get();
    if (fault.ok()) fault = std::move(status);
    heads.push_back(std::move(under_way.front()->text));
    under_way.pop_front();
  }
  HR_TRY(fault);
  return heads;
}

Result<TokenRows> read_rows(ObjectStore& store, const std::string& bin, const ShardEntry& shard,
                            const TokenSchema& schema, std::stop_token stop) {
  HR_TRY_ASSIGN(const ObjectMeta meta, head_now(store, idx_of(bin), stop));
  if (meta.size > kMegatronIdxBytesMax) {
    return exhausted("open " + store.name() + "/" + meta.key + ": " + std::to_string(meta.size) + " bytes, at most " +
                     std::to_string(kMegatronIdxBytesMax));
  }
  HR_TRY_ASSIGN(const std::string text, read_object(store, meta, stop));
  const auto idx = parse_megatron_idx(as_bytes(text), shard.size);
  if (!idx.ok()) return idx.status().with_context("open " + store.name() + "/" + meta.key);
  if (idx->dtype != schema.dtype || (schema.modes && idx->modes.empty())) {
    return unsupported("open " + store.name() + "/" + meta.key + ": not the dtype of the first file, or without modes");
  }
  return token_rows(*idx, schema);
}

// All of them, some at a time: each is 20 bytes a sequence.
Result<std::shared_ptr<const TokenTables>> read_tables(ObjectStore& store, const std::string& root,
                                                       const std::vector<ShardEntry>& shards,
                                                       const TokenSchema& schema, std::stop_token stop) {
  auto tables = std::make_shared<TokenTables>();
  std::deque<std::future<Result<TokenRows>>> under_way;
  Status fault;
  for (size_t next = 0; next < shards.size() || !under_way.empty();) {
    if (next < shards.size() && under_way.size() < kReadsAtOnce && fault.ok()) {
      const ShardEntry& shard = shards[next++];
      under_way.push_back(std::async(std::launch::async, [&store, &root, &shard, &schema, stop] {
        return read_rows(store, root + shard.key, shard, schema, stop);
      }));
      continue;
    }
    if (under_way.empty()) break;
    Result<TokenRows> rows = under_way.front().get();
    under_way.pop_front();
    if (rows.ok()) tables->push_back(*std::move(rows));
    else if (fault.ok()) fault = rows.status();
  }
  HR_TRY(fault);
  return std::shared_ptr<const TokenTables>(std::move(tables));
}

class TokenFinder {
 public:
  TokenFinder(ObjectStore& store, const std::string& root, const std::vector<ShardEntry>& shards,
              const TokenOptions& options, std::stop_token stop)
      : store_(store), root_(root), shards_(shards), options_(options), stop_(std::move(stop)) {}

  Result<std::shared_ptr<const ShardFormat>> find() {
    TokenSchema schema;
    HR_TRY_ASSIGN(schema.samples, token_samples_of(options_.samples));
    schema.boundaries = options_.boundaries;
    if (schema.boundaries && (schema.samples != TokenSamples::kWindow || options_.eos)) {
      return invalid_argument(where(0) + ": boundaries=True is for windows, in place of eos=");
    }
    if (!schema.has_window() && (options_.window != 0 || options_.eos)) {
      return invalid_argument(where(0) + ": window= and eos= are for windows, a sample is a " + options_.samples);
    }
    if (schema.has_window() && (options_.window == 0 || options_.window > kTokenWindowMax)) {
      return invalid_argument(where(0) + ": files of tokens need window=, the tokens of a sample (for inputs and " +
                              "targets one more than the model's context), at most " + std::to_string(kTokenWindowMax));
    }
    schema.window = options_.window;
    schema.eos = options_.eos;
    for (size_t s = 0; s < shards_.size(); ++s) {
      if (compression_of_key(shards_[s].key) != Compression::kNone) {
        return unsupported(where(s) + ": compressed files of tokens are not read");
      }
    }
    std::optional<MdsDtype> said;
    HR_TRY_ASSIGN(said, of_megatron());
    if (!said) {
      HR_TRY_ASSIGN(said, of_llmc());
      if (said) schema.files = TokenFiles::kLlmc;
    }
    if (!options_.dtype.empty()) {
      HR_TRY_ASSIGN(const MdsDtype given, token_dtype_of(options_.dtype));
      if (said && *said != given) {
        return invalid_argument(where(0) + ": token_dtype=\"" + options_.dtype + "\", but the data say " +
                                std::string(mds_dtype_name(*said)));
      }
      said = given;
    }
    if (!said) {
      return invalid_argument(where(0) + ": the file does not say what it holds; if these are tokens, give "
                                         "token_dtype= (\"uint16\" for nanoGPT's)");
    }
    schema.dtype = *said;
    if (!schema.by_idx()) return make_token_format(schema);
    if (!is_megatron_) {
      return invalid_argument(where(0) + ": samples= and boundaries= want Megatron's .idx beside each .bin, and " +
                              "there is none: give window=, and eos= where a token ends a document");
    }
    if (schema.samples == TokenSamples::kSequence) {
      HR_TRY_ASSIGN(schema.modes, has_modes());
    }
    HR_TRY_ASSIGN(auto tables, read_tables(store_, root_, shards_, schema, stop_));
    return make_token_document_format(schema, std::move(tables));
  }

 private:
  std::string where(size_t shard) const { return "open " + store_.name() + "/" + root_ + shards_[shard].key; }

  // By the first file; the others then need them, too.
  Result<bool> has_modes() {
    HR_TRY_ASSIGN(const ObjectMeta meta, head_now(store_, root_ + idx_of(shards_[0].key), stop_));
    HR_TRY_ASSIGN(const std::string head, read_all(store_, meta.key, {0, kMegatronHeadBytes}, meta.etag, stop_));
    HR_TRY(megatron_dtype(as_bytes(head)).status());
    const auto sequences = load_le<uint64_t>(head.data() + 18), documents = load_le<uint64_t>(head.data() + 26);
    return meta.size > kMegatronHeadBytes + 12 * sequences + 8 * documents;  // whether that fits is checked later
  }

  // Nothing: there is no .idx beside the first shard.
  Result<std::optional<MdsDtype>> of_megatron() {
    const Result<ObjectMeta> first = head_now(store_, root_ + idx_of(shards_[0].key), stop_);
    if (!first.ok() && first.status().code() == Code::kNotFound) return std::optional<MdsDtype>();
    HR_TRY(first.status());
    std::vector<std::string> keys;
    for (const ShardEntry& shard : shards_) keys.push_back(root_ + idx_of(shard.key));
    HR_TRY_ASSIGN(const auto heads, read_heads(store_, keys, stop_));
    std::optional<MdsDtype> dtype;
    for (size_t s = 0; s < heads.size(); ++s) {
      const Result<MdsDtype> found = megatron_dtype(as_bytes(heads[s]));
      if (!found.ok()) return found.status().with_context(where(s));
      if (dtype && *dtype != *found) {
        return unsupported(where(s) + ": its tokens are " + std::string(mds_dtype_name(*found)) +
                           ", those of the first file " + std::string(mds_dtype_name(*dtype)) +
                           "; open the kinds as data sets of their own");
      }
      dtype = *found;
    }
    is_megatron_ = true;
    return dtype;
  }

  // Nothing: the first shard has no such header. The others' are checked when they are indexed or read.
  Result<std::optional<MdsDtype>> of_llmc() {
    const ShardEntry& first = shards_[0];
    if (first.size < kLlmcHeaderBytes) return std::optional<MdsDtype>();
    HR_TRY_ASSIGN(const std::string front,
                  read_all(store_, root_ + first.key, {0, kLlmcHeaderBytes}, first.etag, stop_));
    return llmc_dtype(as_bytes(front));
  }

  ObjectStore& store_;
  const std::string& root_;
  const std::vector<ShardEntry>& shards_;
  const TokenOptions& options_;
  const std::stop_token stop_;
  bool is_megatron_ = false;
};

}  // namespace

Result<std::shared_ptr<const ShardFormat>> find_token_format(ObjectStore& store, const std::string& root,
                                                             const std::vector<ShardEntry>& shards,
                                                             const TokenOptions& options, std::stop_token stop) {
  return TokenFinder(store, root, shards, options, std::move(stop)).find();
}

Result<std::shared_ptr<const Cutter>> cutter_of_index(ObjectStore& store, const std::string& root,
                                                      std::shared_ptr<const DatasetIndex> index,
                                                      const std::shared_ptr<const ShardFormat>& found,
                                                      std::stop_token stop) {
  if (index->format() != Format::kTokens) return make_cutter(std::move(index));
  if (found) return found->cutter_of(std::move(index));
  HR_TRY_ASSIGN(const TokenSchema schema, TokenSchema::from_json(index->schema_json()));
  if (!schema.by_idx()) return make_cutter(std::move(index));
  HR_TRY_ASSIGN(auto tables, read_tables(store, root, index->shards(), schema, stop));
  return make_token_document_format(schema, std::move(tables))->cutter_of(std::move(index));
}

}  // namespace headrace
