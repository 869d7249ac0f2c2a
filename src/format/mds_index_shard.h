// SPDX-License-Identifier: Apache-2.0
//
// One shard's object of an index.json. Private to mds_index.cc, which reads the text shard by shard.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "format/lines.h"
#include "format/mds.h"

namespace headrace::mds_json {

using Json = nlohmann::json;
inline constexpr uint64_t kKeysMax = 64;  // of one object; the writers use 13

// Bytes of the data set may hold terminal control characters; messages do not.
std::string printable(std::string_view text);
Result<uint64_t> number_at(const Json& object, const char* key);
// column_names, column_encodings, column_sizes of an mds shard.
Result<MdsSchema> schema_of(const Json& shard);
// An index of this shard alone.
Result<MdsIndex> index_of(const Json& shard);

}  // namespace headrace::mds_json
