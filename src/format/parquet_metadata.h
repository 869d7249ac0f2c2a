// SPDX-License-Identifier: Apache-2.0
//
// What Arrow's writers put beside a Parquet schema: "ARROW:schema" in the footer's key-value metadata, the schema
// message of Arrow IPC in base64. Parquet itself knows lists, not how long they always are. Whatever does not fit is
// passed over: it is a hint, rows are checked against it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace headrace {

inline constexpr std::string_view kArrowSchemaKey = "ARROW:schema";

// Columns that are lists of numbers of one length, with it; `encoded` is the value of kArrowSchemaKey.
std::vector<std::pair<std::string, uint64_t>> fixed_lists_of(std::string_view encoded);

}  // namespace headrace
