// SPDX-License-Identifier: Apache-2.0
//
// The JSON form of fault rules (POST /-/faults).
#include <nlohmann/json.hpp>

#include "serve/faults.h"

namespace headrace::serve {
namespace {

constexpr size_t kRulesMax = 1000;

Result<FaultRule> rule_of(const nlohmann::json& object) {
  if (!object.is_object()) return invalid_argument("read fault rules: a rule is not a JSON object");
  FaultRule rule;
  for (const auto& [word, value] : object.items()) {
    if (!value.is_string() && !value.is_number()) {
      return invalid_argument("read fault rules: '" + word + "' is neither a string nor a number");
    }
    const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
    HR_TRY(set_fault_field(rule, word, text));
  }
  HR_TRY(check_fault_rule(rule));
  return rule;
}

}  // namespace

Result<std::vector<FaultRule>> parse_fault_rules_json(std::string_view json) {
  const nlohmann::json document = nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (!document.is_object() || !document.contains("rules") || !document["rules"].is_array()) {
    return invalid_argument("read fault rules: want a JSON object {\"rules\": [...]}");
  }
  if (document["rules"].size() > kRulesMax)
    return exhausted("read fault rules: more than 1000 rules");
  std::vector<FaultRule> rules;
  for (const nlohmann::json& object : document["rules"]) {
    HR_TRY_ASSIGN(FaultRule rule, rule_of(object));
    rules.push_back(std::move(rule));
  }
  return rules;
}

}  // namespace headrace::serve
