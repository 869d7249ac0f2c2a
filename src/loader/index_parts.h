// SPDX-License-Identifier: Apache-2.0
//
// What is known of one shard's index by itself: a part, in the file format of an index of one shard. Parts are what an
// interrupted build goes on from, what an unchanged shard is taken from, and what one machine hands to another.
// A part's name is a hash of all it depends on (format, schema, key, size, ETag, checksums or not), so that a part of a
// shard that changed is never found. No decision where parts come from or go to: index_build.cc, index_job.cc.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "format/dataset_index.h"
#include "format/shard_format.h"
#include "sys/file_system.h"

namespace headrace {

// A part of 2^32 samples at the finest stride is some 50 GB: a shard like this is refused before.
inline constexpr uint64_t kIndexPartBytesMax = uint64_t{1} << 30;

// "<32 hex digits>.part"
std::string index_part_name(const ShardFormat& format, const ShardEntry& shard, bool crc);

Result<std::string> encode_index_part(const ShardFormat& format, const ShardEntry& shard, ShardIndex found);
// kCorrupt: damaged; kPrecondition: of another shard than `shard`, or of another state of it.
Result<ShardIndex> decode_index_part(Bytes part, const ShardEntry& shard);

// Shards of an earlier index that are still the same, by key, size and ETag.
class EarlierIndex {
 public:
  EarlierIndex() = default;
  // Unusable (it finds nothing) when it is of another format or schema, or when some samples lack a field: how many
  // there are in each shard stands in no index.
  EarlierIndex(std::shared_ptr<const DatasetIndex> index, const ShardFormat& format, bool crc);

  bool usable() const { return index_ != nullptr; }
  std::optional<size_t> find(const ShardEntry& shard) const;
  ShardIndex take(size_t shard) const;

 private:
  std::shared_ptr<const DatasetIndex> index_;
  std::vector<size_t> by_key_;
};

// Has every sample every field?
bool fields_are_full(const DatasetIndex& index);

}  // namespace headrace
