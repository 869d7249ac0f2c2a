// SPDX-License-Identifier: Apache-2.0
#include "loader/index_service.h"

#include <algorithm>

#include "base/hash.h"
#include "format/index_file.h"
#include "format/unit_table.h"
#include "loader/open_store.h"
#include "sys/log.h"

namespace headrace {
namespace {

constexpr std::string_view kLatest = "/latest";  // the path of the index that was saved last
constexpr uint64_t kPathBytesMax = 4096;
constexpr uint64_t kEarlierBytesMax = uint64_t{8} << 30;
constexpr uint64_t kListKeys = 1000;

// Of a format that says itself where samples lie: two ranges of a shard, its head or footer and the rest of the table.
constexpr uint64_t kTableRequests = 2, kTableBytes = 256 << 10;

uint64_t ceil_div(uint64_t n, uint64_t by) { return (n + by - 1) / by; }

}  // namespace

IndexService::IndexService(ObjectStore& store, Runtime& runtime, FileSystem& files, const OpenOptions& options,
                           std::string url, std::string index_dir, FoundShards found)
    : store_(store), runtime_(runtime), files_(files), options_(options), url_(std::move(url)),
      index_dir_(std::move(index_dir)), found_(std::move(found)),
      listing_(listing_hash(*found_.shard_format, found_.shards)) {}

Result<StreamProbe> IndexService::probe(std::stop_token stop) {
  HR_TRY_ASSIGN(StreamProbe probe, probe_stream(store_, found_.root, found_.shards, found_.shard_format,
                                                runtime_.buffers(), std::move(stop)));
  found_.shard_format = probe.shard_format;
  return probe;
}

// Indexes and parts of the states that one data set goes through.
std::string IndexService::place_dir() const {
  FieldHasher hasher;
  hasher.add("headrace index place").add(format_name(found_.shard_format->format()));
  hasher.add(store_.name()).add(found_.root).add(url_);
  return index_dir_ + "/" + hasher.hash().hex();
}

bool IndexService::fits(const DatasetIndex& index) const {
  return !options_.verify || index.has_checksums();
}

Result<std::optional<LoadedIndex>> IndexService::present(std::stop_token stop) {
  if (options_.rebuild) return std::optional<LoadedIndex>();
  HR_TRY_ASSIGN(std::optional<LoadedIndex> found, beside(std::move(stop)));
  if (!found) found = local();
  return found;
}

Result<std::optional<LoadedIndex>> IndexService::beside(std::stop_token stop) {
  auto objects = list_all(store_, beside_folder(found_.root, listing_), kListKeys, stop);
  if (!objects.ok()) {
    // A key that may read shards but not list here, or a server without listing, has no index beside; the local one
    // serves.
    const Code code = objects.status().code();
    if (code == Code::kPermission || code == Code::kNotFound || code == Code::kUnsupported) {
      return std::optional<LoadedIndex>();
    }
    return objects.status();
  }
  std::erase_if(*objects, [](const ObjectMeta& o) { return !o.key.ends_with(kIndexSuffix); });
  if (objects->empty()) return std::optional<LoadedIndex>();
  const auto newest = std::ranges::max_element(*objects, {}, &ObjectMeta::modified_unix);
  HR_TRY_ASSIGN(LoadedIndex loaded, load_index_object(store_, *newest, stop));
  if (Status s = check_listing(*loaded.index, found_.shards, options_.trust_copy); !s.ok()) {
    if (options_.refresh) return std::optional<LoadedIndex>();
    return s.with_context("index " + loaded.where);
  }
  if (!fits(*loaded.index)) return std::optional<LoadedIndex>();
  return std::optional<LoadedIndex>(std::move(loaded));
}

// The local folder is a cache: what does not fit is built anew.
std::optional<LoadedIndex> IndexService::local() {
  const std::string path = local_index_path(index_dir_, listing_);
  auto loaded = load_index_file(files_, path);
  if (!loaded.ok()) {
    if (loaded.status().code() != Code::kNotFound) {
      log_line(LogLevel::kWarning, loaded.status().message() + "; it is built anew");
    }
    return std::nullopt;
  }
  if (Status s = check_listing(*loaded->index, found_.shards, options_.trust_copy); !s.ok()) {
    log_line(LogLevel::kWarning, "index " + path + ": " + s.message() + "; shards that changed are read anew");
    return std::nullopt;
  }
  if (!fits(*loaded->index)) return std::nullopt;
  return *std::move(loaded);
}

// The index of the state before: the local one that was saved last, else the newest beside the shards, of whatever
// listing. What cannot be read is none: it only costs reading shards.
std::shared_ptr<const DatasetIndex> IndexService::earlier(std::stop_token stop) {
  const auto latest = files_.read(place_dir() + std::string(kLatest), kPathBytesMax);
  if (latest.ok()) {
    if (auto loaded = load_index_file(files_, *latest); loaded.ok()) return loaded->index;
  }
  auto objects = list_all(store_, found_.root + ".headrace/", kListKeys, stop);
  if (!objects.ok()) return nullptr;
  std::erase_if(*objects, [](const ObjectMeta& o) {
    return !o.key.ends_with(kIndexSuffix) || o.size > kEarlierBytesMax;
  });
  const auto newest = std::ranges::max_element(*objects, {}, &ObjectMeta::modified_unix);
  if (newest == objects->end()) return nullptr;
  auto content = read_object(store_, *newest, std::move(stop));  // all of it: shards are taken at the finest stride
  if (!content.ok()) return nullptr;
  auto index = decode_index(as_bytes(*content));
  return index.ok() ? *index : nullptr;
}

void IndexService::note_local(const std::string& path) {
  (void)files_.write_atomic(place_dir() + std::string(kLatest), path).ok();
}

IndexBuildSpec IndexService::spec_now() const {
  IndexBuildSpec spec;
  spec.shard_format = found_.shard_format;
  spec.shards = found_.shards;
  spec.key_prefix = found_.root;
  const bool by_units = found_.shard_format->by_units();  // footers or heads say all, unless checksums are asked for
  const bool by_reading = found_.shard_format->indexed_by_reading();
  spec.crc = options_.verify || (!by_units && by_reading && !options_.headers_only);
  spec.check_hashes = options_.verify;
  spec.parts_dir = place_dir() + "/parts";
  spec.keep_parts = spec.crc || by_reading;  // a table of offsets is read again as fast as a part of it
  spec.progress = options_.progress;
  return spec;
}

Result<IndexBuildSpec> IndexService::build_spec(std::stop_token stop) {
  if (found_.shard_format->learns()) HR_TRY(probe(stop).status());
  IndexBuildSpec spec = spec_now();
  if (options_.headers_only && found_.shard_format->indexed_by_reading() &&
      found_.shard_format->format() != Format::kWebDataset) {
    return unsupported("index " + url_ + " from headers only: of " +
                       std::string(format_name(found_.shard_format->format())) +
                       " all bytes are needed to find the samples; leave checksums= out");
  }
  if (!options_.rebuild) spec.earlier = EarlierIndex(earlier(std::move(stop)), *found_.shard_format, spec.crc);
  return spec;
}

Result<IndexCost> IndexService::cost(const IndexBuildSpec& spec) {
  IndexCost cost;
  cost.checksums = spec.crc;
  // Now and when it is built: the shards, an index beside them, one of the state before.
  cost.lists = 2 * (ceil_div(spec.shards.size(), kListKeys) + 2);
  const auto left = options_.rebuild ? settled_part_names(files_, spec) : std::set<std::string>();
  for (size_t s = 0; s < spec.shards.size(); ++s) {
    const ShardEntry& shard = spec.shards[s];
    ++cost.shards;
    cost.bytes += shard.size;
    const bool stale = !left.empty() && left.contains(index_part_name(*spec.shard_format, shard, spec.crc));
    if (!stale && has_index_part(files_, spec, s)) {
      ++cost.shards_in_parts;
    } else if (spec.earlier.find(shard)) {
      ++cost.shards_in_earlier;
    } else {
      ++cost.shards_to_read;
      const bool whole = found_.shard_format->indexed_by_reading() || spec.crc;
      const bool table = !whole || found_.shard_format->by_units();  // units: first where they lie, then all bytes
      cost.bytes_to_read += (table ? std::min(shard.size, kTableBytes) : 0) + (whole ? shard.size : 0);
      cost.requests += (table ? kTableRequests : 0) +
                       (whole ? ceil_div(shard.size, kIndexChunkBytes) + (spec.crc ? 1 : 0) : 0);
    }
  }
  return cost;
}

Result<LoadedIndex> IndexService::build(std::stop_token stop) {
  HR_TRY_ASSIGN(IndexBuildSpec spec, build_spec(stop));
  if (options_.rebuild) forget_settled_parts(files_, spec);
  if (spec.crc && !options_.refresh) {
    uint64_t bytes = 0;
    for (const ShardEntry& shard : found_.shards) bytes += shard.size;
    log_line(LogLevel::kInfo, "no index for " + url_ + ": reading its " + std::to_string(bytes) +
                                  " bytes once to build one");
  }
  HR_TRY_ASSIGN(auto index, build_index(store_, *runtime_.buffers(), files_, spec, std::move(stop)));
  LoadedIndex loaded{index, "", "built now"};
  loaded.name = index_file_name(as_bytes(encode_index(*index)));
  loaded.name.resize(loaded.name.size() - kIndexSuffix.size());
  spec.earlier = {};  // the former state's index is not needed any more
  built_ = std::move(spec);
  return loaded;
}

void IndexService::settle(const DatasetIndex& index) {
  if (built_) settle_index_parts(files_, *built_, index);
}

}  // namespace headrace
