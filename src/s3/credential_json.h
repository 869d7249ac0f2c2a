// SPDX-License-Identifier: Apache-2.0
//
// The small JSON objects in which services and programs hand out credentials. Bounded in size and depth.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/result.h"

namespace headrace {

constexpr uint64_t kCredentialJsonBytesMax = 64 << 10;

// Every string, number and truth value of the object by its path ("roleCredentials.accessKeyId"); lists are left out.
// kCorrupt for text that is no JSON object. The text is never quoted: it holds secrets.
using JsonFields = std::map<std::string, std::string>;
Result<JsonFields> parse_json_fields(std::string_view text);

// The object with these strings as its values.
std::string json_text(const JsonFields& fields);

// "" when it is not there.
const std::string& field_of(const JsonFields& fields, const std::string& name);

}  // namespace headrace
