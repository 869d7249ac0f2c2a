// SPDX-License-Identifier: Apache-2.0
//
// One JSON object on a line, taken apart into its members without building it: where each value
// stands and of what kind it is. Accepts what Python's json module reads (RFC 8259, and NaN,
// Infinity, -Infinity). What is inside a nested value is checked for strings and brackets only; who
// takes it apart checks the rest.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace headrace {

enum class JsonKind : uint8_t { kNull, kBool, kInteger, kFloat, kString, kArray, kObject };

struct JsonValue {
  JsonKind kind = JsonKind::kNull;
  bool escaped = false;   // kString: it has backslashes
  std::string_view text;  // as it stands; kString: without the quotes
};

struct JsonMember {
  JsonValue key;
  JsonValue value;
};

// Nested deeper, Python's json module would not read it.
inline constexpr uint32_t kJsonNestingMax = 512;
inline constexpr size_t kJsonMembersMax = 65'536;

// The members in the order they stand; a name may come twice. White space around the object and a
// byte order mark before it are passed over. kCorrupt says at which byte of the line what was
// expected.
Status read_json_object(std::string_view line, std::vector<JsonMember>& members);
// The values of an array, as it stands.
Status read_json_array(std::string_view array, std::vector<JsonValue>& values);

// What an escaped string says, as UTF-8; at `out`, which has room for as many bytes as `text`.
// Returns its length; kCorrupt: an escape that is none, or half of a surrogate pair.
Result<size_t> unescape_json(std::string_view text, char* out);

}  // namespace headrace
