// SPDX-License-Identifier: Apache-2.0
//
// The listing of a data set, as it comes: of each object that may be a shard what the index will need of it, of all
// others only that they were there. So a prefix with a million objects costs the memory of its shards. Knows names, not
// contents; which of the shards are the data set is find_shards' to say.
#pragma once

#include <map>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "format/dataset_index.h"
#include "store/object_store.h"

namespace headrace {

// Data sets of more objects are refused by name of the limit.
inline constexpr uint64_t kObjectsListedMax = 50'000'000;
inline constexpr std::string_view kIndexJsonName = "index.json";
inline constexpr std::string_view kAnyObject = "objects";  // format= that takes whatever lies there

struct ShardListing {
  std::vector<ShardEntry> shards;  // by key, each once; whole keys
  std::map<std::string, std::string, std::less<>> kinds;  // of the shards, with the first key of each
  uint64_t objects = 0;
  bool is_folder = false;       // they lie in a folder of that name, not under a prefix of names
  bool has_index_json = false;  // in the folder
  bool has_others = false;      // shards of a format that index.json says nothing of, and no company of one
  // Objects that are none of these, hidden ones apart: how many, the first one's key, and that of the first image of a
  // kind that no decoder here reads ("": none).
  uint64_t passed_over = 0;
  std::string passed_first, other_image;
};

// What an object is by its name: the name of a format (format_facts), what is known but not read, or "" for company
// (indexes, notes) that is passed over.
std::string_view kind_of(std::string_view key);
// Whether an index.json says what the shards of this format are.
bool by_index_json(std::string_view format);

// All under `key`, a folder or, where there is none, a prefix. `format`: only of this one; "" = of all.
Result<ShardListing> list_shards(ObjectStore& store, const std::string& key, const std::string& format,
                                 std::stop_token stop);

// Size, ETag and version of objects whose keys are known, by one listing or, where a store has none, by asking for
// each. Of one that is not there `size` stays kNotListed.
inline constexpr uint64_t kNotListed = ~uint64_t{0};
Status look_up(ObjectStore& store, std::vector<ShardEntry>& shards, std::stop_token stop);

}  // namespace headrace
