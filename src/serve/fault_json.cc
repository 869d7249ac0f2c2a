// SPDX-License-Identifier: Apache-2.0
//
// The JSON form of fault rules (--faults FILE, POST /-/faults). Bounded and strict: unknown and
// repeated words are errors.
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "serve/faults.h"

namespace headrace::serve {
namespace {

constexpr size_t kRulesMax = 1000;
constexpr size_t kFileBytesMax = 1 << 20;
constexpr int kDepthMax = 3;  // {"rules": [{...}]}

Result<FaultRule> rule_of(const nlohmann::json& object) {
  if (!object.is_object()) return invalid_argument("read fault rules: a rule is not a JSON object");
  FaultRule rule;
  for (const auto& [word, value] : object.items()) {
    if (!value.is_string() && !value.is_number() && !value.is_boolean()) {
      return invalid_argument("read fault rules: '" + word +
                              "' is neither a string, a number, true nor false");
    }
    const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
    HR_TRY(set_fault_field(rule, word, text));
  }
  HR_TRY(check_fault_rule(rule));
  return rule;
}

// Parses, and says what is repeated or too deep: nlohmann itself keeps the last of two equal names.
Result<nlohmann::json> parse_strictly(std::string_view text) {
  std::string why;
  std::array<std::set<std::string>, kDepthMax + 2> names;  // of the object at that depth
  const auto watch = [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json& value) {
    using Event = nlohmann::json::parse_event_t;
    const auto level = static_cast<size_t>(depth);
    if (depth > kDepthMax) return why = "nested too deeply", false;
    if (event == Event::object_start) names[level + 1].clear();
    if (event == Event::key && !names[level].insert(value.get<std::string>()).second)
      why = "'" + value.get<std::string>().substr(0, 80) + "' stands twice in one object";
    return why.empty();
  };
  nlohmann::json document = nlohmann::json::parse(text, watch, /*allow_exceptions=*/false);
  if (!why.empty()) return invalid_argument("read fault rules: " + why);
  if (!document.is_object() || document.size() != 1 || !document.contains("rules") ||
      !document["rules"].is_array()) {
    return invalid_argument("read fault rules: want a JSON object {\"rules\": [...]}");
  }
  return document;
}

}  // namespace

Result<std::vector<FaultRule>> parse_fault_rules_json(std::string_view json) {
  if (json.size() > kFileBytesMax) return exhausted("read fault rules: more than 1 MiB");
  HR_TRY_ASSIGN(const nlohmann::json document, parse_strictly(json));
  if (document["rules"].size() > kRulesMax)
    return exhausted("read fault rules: more than 1000 rules");
  std::vector<FaultRule> rules;
  for (const nlohmann::json& object : document["rules"]) {
    Result<FaultRule> rule = rule_of(object);
    if (!rule.ok()) {
      return invalid_argument(rule.status().message() + " (rule " +
                              std::to_string(rules.size() + 1) + ")");
    }
    rules.push_back(*std::move(rule));
  }
  return rules;
}

Result<std::vector<FaultRule>> read_fault_rules_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(kFileBytesMax + 1, '\0');
  if (file) file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file && !file.eof())
    return not_found("read fault rules " + path + ": " + std::strerror(errno));
  text.resize(static_cast<size_t>(file.gcount()));
  Result<std::vector<FaultRule>> rules = parse_fault_rules_json(text);
  if (!rules.ok()) return Status(rules.status().code(), path + ": " + rules.status().message());
  return rules;
}

}  // namespace headrace::serve
