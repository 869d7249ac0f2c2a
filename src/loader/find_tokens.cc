// SPDX-License-Identifier: Apache-2.0
#include "loader/find_tokens.h"

#include <deque>
#include <future>

#include "format/decoder.h"
#include "format/tokens.h"

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

class TokenFinder {
 public:
  TokenFinder(ObjectStore& store, const std::string& root, const std::vector<ShardEntry>& shards,
              const TokenOptions& options, std::stop_token stop)
      : store_(store), root_(root), shards_(shards), options_(options), stop_(std::move(stop)) {}

  Result<std::shared_ptr<const ShardFormat>> find() {
    TokenSchema schema;
    if (options_.window == 0 || options_.window > kTokenWindowMax) {
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
    return make_token_format(schema);
  }

 private:
  std::string where(size_t shard) const { return "open " + store_.name() + "/" + root_ + shards_[shard].key; }

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
};

}  // namespace

Result<std::shared_ptr<const ShardFormat>> find_token_format(ObjectStore& store, const std::string& root,
                                                             const std::vector<ShardEntry>& shards,
                                                             const TokenOptions& options, std::stop_token stop) {
  return TokenFinder(store, root, shards, options, std::move(stop)).find();
}

}  // namespace headrace
