// SPDX-License-Identifier: Apache-2.0
#include "loader/index_job.h"

#include <algorithm>

#include "format/decoder.h"
#include "loader/data_url.h"
#include "loader/manifest_check.h"

namespace headrace {

Result<std::unique_ptr<IndexJob>> IndexJob::open(const std::vector<std::string>& urls, OpenOptions options,
                                                 std::stop_token stop) {
  HR_TRY_ASSIGN(const std::vector<DataUrl> parsed, parse_data_urls(urls));
  std::unique_ptr<IndexJob> job(new IndexJob());
  job->options_ = std::move(options);
  job->runtime_ = Runtime::shared();
  HR_TRY_ASSIGN(job->opened_, open_store(parsed[0], job->options_.store, job->runtime_));
  ObjectStore& store = *job->opened_.store;
  HR_TRY_ASSIGN(FoundShards found,
                find_shards(store, parsed, job->options_.format, job->options_.tokens, stop));
  HR_TRY(check_manifest(job->options_.expected, store.name(), found.root, found.shards));
  for (const ShardEntry& shard : found.shards) {
    if (compression_of_key(shard.key) == Compression::kNone) continue;
    return unsupported("index " + store.name() + "/" + found.root + shard.key +
                       ": it is compressed: it is read as a stream, in which samples cannot be found by offsets");
  }
  job->name_ = store.name();
  const std::string dir = job->options_.index_dir.empty() ? default_index_dir() : job->options_.index_dir;
  job->service_ = std::make_unique<IndexService>(store, *job->runtime_, job->files_, job->options_, parsed[0].text(),
                                                 dir, std::move(found));
  HR_TRY_ASSIGN(const std::optional<LoadedIndex> present, job->service_->present(stop));
  if (present) job->present_ = present->where;
  HR_TRY_ASSIGN(job->spec_, job->service_->build_spec(stop));
  return job;
}

std::vector<uint64_t> IndexJob::to_read() {
  std::vector<uint64_t> out;
  if (options_.rebuild) forget_settled_parts(files_, spec_);
  for (uint64_t s = 0; s < spec_.shards.size(); ++s) {
    if (!has_index_part(files_, spec_, s) && !spec_.earlier.find(spec_.shards[s])) out.push_back(s);
  }
  return out;
}

std::string IndexJob::part_name(uint64_t shard) const {
  return index_part_name(*spec_.shard_format, spec_.shards[shard], spec_.crc);
}

Result<std::vector<IndexJob::Part>> IndexJob::parts_of(const std::vector<uint64_t>& shards, std::stop_token stop) {
  for (uint64_t s : shards) {
    if (s >= spec_.shards.size()) {
      return invalid_argument("index shard " + std::to_string(s) + ": there are " +
                              std::to_string(spec_.shards.size()));
    }
  }
  HR_TRY_ASSIGN(std::vector<ShardIndex> found,
                index_shards(*opened_.store, *runtime_->buffers(), files_, spec_, shards, std::move(stop)));
  std::vector<Part> parts;
  for (size_t i = 0; i < shards.size(); ++i) {
    const ShardEntry& entry = spec_.shards[shards[i]];
    std::string part;  // no index says that there is nothing: such a shard is read again
    if (found[i].samples > 0) {
      HR_TRY_ASSIGN(part, encode_index_part(*spec_.shard_format, entry, std::move(found[i])));
    }
    parts.emplace_back(part_name(shards[i]), std::move(part));
  }
  return parts;
}

Status IndexJob::keep(uint64_t shard, const Part& part) {
  if (shard >= spec_.shards.size()) {
    return invalid_argument("keep a part of shard " + std::to_string(shard) + ": there are " +
                            std::to_string(spec_.shards.size()));
  }
  if (part.first != part_name(shard)) {
    return precondition_failed("keep a part of " + spec_.shards[shard].key +
                               ": it was made of another state of the shard: it changed meanwhile; start again");
  }
  if (part.second.empty()) return {};
  HR_TRY_ASSIGN(ShardIndex found, decode_index_part(as_bytes(part.second), spec_.shards[shard]));
  return write_index_part(files_, spec_, shard, std::move(found));
}

}  // namespace headrace
