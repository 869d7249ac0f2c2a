// SPDX-License-Identifier: Apache-2.0
//
// Pages of a listing, as ListObjectsV2 makes them, from keys that can be sought in order. Shared by the stores that
// hold their own keys (memory_store, file_store). Pure.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/result.h"
#include "store/object_store.h"

namespace headrace {

// The first object whose key is >= `from` in byte order, or nothing.
using KeySeek = std::function<std::optional<ObjectMeta>(const std::string& from)>;

// Objects and common prefixes count alike towards keys_max (1..1000; 0 gives an empty page). The continuation says
// where to go on; one that this function did not make is kInvalidArgument.
Result<ListPage> page_of_keys(const KeySeek& seek, const ListRequest& request);

}  // namespace headrace
