// SPDX-License-Identifier: Apache-2.0
//
// What lies under the URLs: which objects are shards, of which format, in the data set's order. One listing, no data.
#pragma once

#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "format/dataset_index.h"
#include "format/shard_format.h"
#include "loader/data_url.h"
#include "store/object_store.h"

namespace headrace {

struct FoundShards {
  std::shared_ptr<const ShardFormat> shard_format;  // made with these shards
  std::string root;                                 // folder in the store, "" or ending in '/'
  std::vector<ShardEntry> shards;                   // keys relative to root; size, ETag, version id
  std::string why;                                  // what the format was known by and what was passed over, for people
};

// `format`: "" = found out by names. Errors: nothing there (kNotFound), several formats (kInvalidArgument), a format
// that is not read (kUnsupported), a listed shard that is missing or of another size.
Result<FoundShards> find_shards(ObjectStore& store, const std::vector<DataUrl>& urls, const std::string& format,
                                const TokenOptions& tokens, std::stop_token stop);

// A short name for (format, keys, sizes), of files of tokens also for how they are divided: where indexes of this data
// set are filed.
std::string listing_hash(const ShardFormat& format, const std::vector<ShardEntry>& shards);

}  // namespace headrace
