// SPDX-License-Identifier: Apache-2.0
#include "s3/credential_json.h"

#include <nlohmann/json.hpp>

namespace headrace {
namespace {

constexpr int kDepthMax = 4;

// The parser's own limit on nesting comes before its tree.
bool too_deep(std::string_view text) {
  int depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '"') quoted = !quoted;
    if (quoted && text[i] == '\\') ++i;
    if (quoted) continue;
    if (text[i] == '{' || text[i] == '[') ++depth;
    if (text[i] == '}' || text[i] == ']') --depth;
    if (depth > kDepthMax) return true;
  }
  return false;
}

void flatten(const nlohmann::json& node, const std::string& path, JsonFields* fields) {
  if (node.is_object()) {
    for (auto it = node.begin(); it != node.end(); ++it) {
      flatten(it.value(), path.empty() ? it.key() : path + "." + it.key(), fields);
    }
  } else if (const auto* text = node.get_ptr<const std::string*>()) {
    (*fields)[path] = *text;
  } else if (node.is_number_integer()) {
    (*fields)[path] = node.is_number_unsigned() ? std::to_string(*node.get_ptr<const uint64_t*>())
                                                : std::to_string(*node.get_ptr<const int64_t*>());
  } else if (const auto* truth = node.get_ptr<const bool*>()) {
    (*fields)[path] = *truth ? "true" : "false";
  }
}

}  // namespace

Result<JsonFields> parse_json_fields(std::string_view text) {
  if (text.size() > kCredentialJsonBytesMax) {
    return corrupt("JSON of " + std::to_string(text.size()) + " bytes: more than the limit of " +
                   std::to_string(kCredentialJsonBytesMax));
  }
  if (too_deep(text)) return corrupt("JSON nested deeper than " + std::to_string(kDepthMax));
  const nlohmann::json parsed = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (parsed.is_discarded() || !parsed.is_object()) return corrupt("not a JSON object");
  JsonFields fields;
  flatten(parsed, "", &fields);
  return fields;
}

std::string json_text(const JsonFields& fields) {
  return nlohmann::json(fields).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

const std::string& field_of(const JsonFields& fields, const std::string& name) {
  static const std::string kNone;
  const auto it = fields.find(name);
  return it == fields.end() ? kNone : it->second;
}

}  // namespace headrace
