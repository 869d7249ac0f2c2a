// SPDX-License-Identifier: Apache-2.0
#include "serve/faults.h"

#include <array>
#include <charconv>
#include <utility>

#include "base/checked.h"
#include "serve/http_text.h"
#include "serve/weather.h"

namespace headrace::serve {
namespace {

constexpr std::array<std::pair<std::string_view, FaultKind>, 10> kKinds = {{
    {"status", FaultKind::kStatus},
    {"reset", FaultKind::kReset},
    {"stall", FaultKind::kStall},
    {"truncate", FaultKind::kTruncate},
    {"wrong-range", FaultKind::kWrongRange},
    {"flip", FaultKind::kFlip},
    {"whole", FaultKind::kWhole},
    {"drip", FaultKind::kDrip},
    {"delay", FaultKind::kDelay},
    {"etag", FaultKind::kEtag},
}};
constexpr uint64_t kFaultPurpose = 1000;  // rule i draws from purpose 1000 + i

Status bad_field(std::string_view word, std::string_view value, std::string_view want) {
  return invalid_argument("read fault rule: '" + std::string(word) + "=" + std::string(value) +
                          "': " + std::string(want));
}

Status set_kind(FaultRule& rule, std::string_view value) {
  for (const auto& [name, kind] : kKinds) {
    if (name == value) return rule.kind = kind, Status();
  }
  return bad_field(
      "kind", value,
      "one of status, reset, stall, truncate, wrong-range, flip, whole, drip, delay, etag");
}

Status set_real(double& field, std::string_view word, std::string_view value) {
  double number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc() || end != value.data() + value.size())
    return bad_field(word, value, "want a number");
  field = number;
  return {};
}

Status set_count(uint64_t& field, std::string_view word, std::string_view value) {
  const auto number = parse_decimal(value);
  if (!number) return bad_field(word, value, "want a whole number");
  field = *number;
  return {};
}

Status set_small(int& field, std::string_view word, std::string_view value) {
  const auto number = parse_decimal(value);
  if (!number || *number > 1'000'000)
    return bad_field(word, value, "want a whole number up to 1000000");
  field = static_cast<int>(*number);
  return {};
}

}  // namespace

std::string_view fault_kind_name(FaultKind kind) {
  for (const auto& [name, value] : kKinds) {
    if (value == kind) return name;
  }
  return "unknown";
}

Status set_fault_field(FaultRule& rule, std::string_view word, std::string_view value) {
  if (word == "kind") return set_kind(rule, value);
  if (word == "op") return rule.op = value, Status();
  if (word == "key") return rule.key = value, Status();
  if (word == "nth") return set_count(rule.nth, word, value);
  if (word == "every") return set_count(rule.every, word, value);
  if (word == "times") return set_count(rule.times, word, value);
  if (word == "at") return set_count(rule.at_byte, word, value);
  if (word == "probability") return set_real(rule.probability, word, value);
  if (word == "ms") return set_real(rule.ms, word, value);
  if (word == "bytes_per_s") return set_real(rule.bytes_per_s, word, value);
  if (word == "status") return set_small(rule.status, word, value);
  if (word == "retry_after_s") return set_small(rule.retry_after_s, word, value);
  if (word == "attempts_below") {
    int attempts = 0;
    HR_TRY(set_small(attempts, word, value));
    rule.attempts_below = static_cast<uint32_t>(attempts);
    return {};
  }
  return bad_field(
      word, value,
      "known words are kind, op, key, nth, every, times, attempts_below, probability, status, "
      "retry_after_s, at, ms, bytes_per_s");
}

Status check_fault_rule(const FaultRule& rule) {
  if (!(rule.probability >= 0 && rule.probability <= 1))
    return invalid_argument("read fault rule: probability not in [0, 1]");
  if (!(rule.ms >= 0 && rule.ms <= 3.6e6))
    return invalid_argument("read fault rule: ms not in [0, 3600000]");
  if (!(rule.bytes_per_s >= 1)) return invalid_argument("read fault rule: bytes_per_s below 1");
  if (rule.status < 300 || rule.status > 599)
    return invalid_argument("read fault rule: status not in [300, 599]");
  return {};
}

Result<FaultRule> parse_fault_rule(std::string_view text) {
  FaultRule rule;
  while (!text.empty()) {
    const size_t end = std::min(text.find(','), text.size());
    const std::string_view part = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const size_t equals = part.find('=');
    // A lone word is a kind: "reset,at=1000".
    if (equals == part.npos)
      HR_TRY(set_fault_field(rule, "kind", part));
    else
      HR_TRY(set_fault_field(rule, part.substr(0, equals), part.substr(equals + 1)));
  }
  HR_TRY(check_fault_rule(rule));
  return rule;
}

// Linear time: on a mismatch only the last '*' is tried again.
bool glob_matches(std::string_view pattern, std::string_view text) {
  size_t p = 0, t = 0, star = pattern.npos, star_text = 0;
  while (t < text.size()) {
    if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t]) && pattern[p] != '*') {
      ++p, ++t;
    } else if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      star_text = t;
    } else if (star != pattern.npos) {
      p = star + 1;
      t = ++star_text;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

void FaultPlan::set(std::vector<FaultRule> rules) {
  std::lock_guard lock(mutex_);
  entries_.clear();
  for (FaultRule& rule : rules) entries_.push_back({std::move(rule)});
  empty_ = entries_.empty();
}

std::optional<FaultRule> FaultPlan::next(std::string_view op, std::string_view bucket_and_key,
                                         uint64_t seed, uint64_t request_hash, uint32_t attempt) {
  if (empty_.load(std::memory_order_relaxed)) return std::nullopt;
  std::lock_guard lock(mutex_);
  for (size_t i = 0; i < entries_.size(); ++i) {
    Entry& entry = entries_[i];
    const FaultRule& rule = entry.rule;
    if (!rule.op.empty() && rule.op != op) continue;
    if (!glob_matches(rule.key, bucket_and_key)) continue;
    ++entry.matched;
    if (rule.nth != 0 && entry.matched != rule.nth) continue;
    if (rule.every != 0 && entry.matched % rule.every != 0) continue;
    if (rule.times != 0 && entry.fired >= rule.times) continue;
    if (rule.attempts_below != 0 && attempt >= rule.attempts_below) continue;
    if (rule.probability < 1 &&
        uniform_of(draw(seed, request_hash, attempt, kFaultPurpose + i)) >= rule.probability) {
      continue;
    }
    ++entry.fired;
    return rule;
  }
  return std::nullopt;
}

std::string FaultPlan::json() const {
  std::lock_guard lock(mutex_);
  std::string text = "{\"rules\": [";
  for (const Entry& entry : entries_) {
    if (text.back() != '[') text += ", ";
    text += "{\"kind\": \"" + std::string(fault_kind_name(entry.rule.kind)) + "\", \"op\": ";
    append_json_string(text, entry.rule.op);
    text += ", \"key\": ";
    append_json_string(text, entry.rule.key);
    text += ", \"matched\": " + std::to_string(entry.matched) +
            ", \"fired\": " + std::to_string(entry.fired) + "}";
  }
  return text + "]}\n";
}

}  // namespace headrace::serve
