// SPDX-License-Identifier: Apache-2.0
//
// Builds a data set's index by reading its shards, several side by side. What each finished shard gave is kept in a
// local folder, so that a build that was cut off goes on where it stood; a part is used only when key, size and ETag
// still agree.
#pragma once

#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "format/dataset_index.h"
#include "format/shard_format.h"
#include "loader/dataset.h"
#include "store/object_store.h"
#include "sys/buffer_source.h"
#include "sys/file_system.h"

namespace headrace {

struct IndexBuildSpec {
  std::shared_ptr<const ShardFormat> shard_format;  // knows as many shards as `shards`
  std::vector<ShardEntry> shards;                   // key, size, ETag, version id, in the data set's order
  std::string key_prefix;                           // + ShardEntry::key = the object's key
  // False (where the format is not indexed by reading): just tables of offsets, a small range of each shard.
  bool crc = true;
  bool check_hashes = false;  // with crc: against what the data set says of its shards
  std::string parts_dir;           // empty = keep no parts
  uint32_t readers_max = 32;       // shards read at a time
  ProgressSink progress;
};

// Blocking; any failure of a shard ends the build with that shard's error (finished shards are kept as parts).
Result<std::shared_ptr<const DatasetIndex>> build_index(ObjectStore& store, BufferSource& buffers, FileSystem& files,
                                                        const IndexBuildSpec& spec, std::stop_token stop);

// What one shard gave, found elsewhere than in a build: the next build uses it. kUnsupported without parts_dir.
Status write_index_part(FileSystem& files, const IndexBuildSpec& spec, size_t shard, ShardIndex found);
// A part of the shard as it is listed now: a build would not read the shard.
bool has_index_part(FileSystem& files, const IndexBuildSpec& spec, size_t shard);

// Removes the parts once the index lies safely elsewhere.
void drop_index_parts(FileSystem& files, const IndexBuildSpec& spec);

}  // namespace headrace
