// SPDX-License-Identifier: Apache-2.0
#include "loader/find_objects.h"

#include <algorithm>

#include "format/objects.h"

namespace headrace {

Status set_object_format(Format format, FoundShards& found) {
  // Folders made by hand in a console, uploads that failed: neither is a sample, and a range of nothing cannot be read.
  const auto is_empty = [](const ShardEntry& shard) { return shard.size == 0; };
  const auto first = std::ranges::find_if(found.shards, is_empty);
  if (first != found.shards.end()) {
    const std::string example = first->key;
    const size_t empty = std::erase_if(found.shards, is_empty);
    found.why += "; " + std::to_string(empty) + " empty objects are left out (" + example + ")";
  }
  if (found.shards.empty()) return not_found("open objects: all of them are empty");
  ObjectSchema schema;
  schema.format = format;
  schema.classes = classes_of(found.shards);
  if (schema.classes.empty()) {
    found.why += "; no labels: not every object lies in a class folder, or there are more than " +
                 std::to_string(kClassesMax);
  } else {
    found.why += "; labels: " + std::to_string(schema.classes.size()) + " class folders, 0 = " + schema.classes[0];
    if (schema.classes.size() > 1) {
      found.why += " ... " + std::to_string(schema.classes.size() - 1) + " = " + schema.classes.back();
    }
  }
  found.shard_format = make_object_format(std::move(schema));
  return {};
}

}  // namespace headrace
