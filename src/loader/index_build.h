// SPDX-License-Identifier: Apache-2.0
//
// Builds a data set's index by reading its shards, several side by side and big ones by several reads at a time. What
// each finished shard gave is kept in a local folder, so that a build that was cut off goes on where it stood; a part
// is used only when key, size and ETag still agree. Shards that an earlier index has and that did not change are not
// read.
#pragma once

#include <memory>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "format/dataset_index.h"
#include "format/shard_format.h"
#include "loader/dataset.h"
#include "loader/index_parts.h"
#include "store/object_store.h"
#include "sys/buffer_source.h"
#include "sys/file_system.h"

namespace headrace {

// A connection brings 50-90 MB/s after 30 ms: 4 MiB is where two thirds of the time are bytes.
inline constexpr uint64_t kIndexChunkBytes = 4ull << 20;

struct IndexBuildSpec {
  std::shared_ptr<const ShardFormat> shard_format;  // knows as many shards as `shards`
  std::vector<ShardEntry> shards;                   // key, size, ETag, version id, in the data set's order
  std::string key_prefix;                           // + ShardEntry::key = the object's key
  // False: just what says where samples lie (tables of offsets, a tar's headers), and no checksums.
  bool crc = true;
  bool check_hashes = false;  // with crc: against what the data set says of its shards
  std::string parts_dir;      // where parts are found; empty = nowhere
  bool keep_parts = false;    // what is read now is kept there
  EarlierIndex earlier;       // where shards that are the same are taken from
  uint32_t reads_max = 32;    // chunks read at a time: x kIndexChunkBytes = the memory it takes
  ProgressSink progress;
};

// What a build read, and what it had not to.
struct IndexBuildReport {
  uint64_t shards_read = 0, requests = 0, bytes_read = 0;
  uint64_t shards_from_parts = 0, shards_from_earlier = 0;
};

// Blocking; any failure of a shard ends the build with that shard's error (finished shards are kept as parts).
Result<std::shared_ptr<const DatasetIndex>> build_index(ObjectStore& store, BufferSource& buffers, FileSystem& files,
                                                        const IndexBuildSpec& spec, std::stop_token stop,
                                                        IndexBuildReport* report = nullptr);

// Of these shards alone, in this order; each number once, less than spec.shards.size().
Result<std::vector<ShardIndex>> index_shards(ObjectStore& store, BufferSource& buffers, FileSystem& files,
                                             const IndexBuildSpec& spec, const std::vector<uint64_t>& shards,
                                             std::stop_token stop);

// What one shard gave, found elsewhere than in a build: the next build uses it. kUnsupported without parts_dir.
Status write_index_part(FileSystem& files, const IndexBuildSpec& spec, size_t shard, ShardIndex found);
// A part of the shard as it is listed now: a build would not read the shard.
bool has_index_part(FileSystem& files, const IndexBuildSpec& spec, size_t shard);

// Once the index lies safely elsewhere: removes the parts, but those that the index cannot give again (fields that some
// samples lack are counted by shard); of these, the ones that no shard has any more.
void settle_index_parts(FileSystem& files, const IndexBuildSpec& spec, const DatasetIndex& index);
// Names of the parts that were left so, and their removal: before everything is read again.
std::set<std::string> settled_part_names(FileSystem& files, const IndexBuildSpec& spec);
void forget_settled_parts(FileSystem& files, const IndexBuildSpec& spec);

}  // namespace headrace
