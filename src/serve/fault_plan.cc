// SPDX-License-Identifier: Apache-2.0
#include "serve/fault_plan.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "serve/http_text.h"
#include "serve/weather.h"

namespace headrace::serve {
namespace {

constexpr uint64_t kFaultPurpose = 1000;  // rule i draws from purpose 1000 + i
constexpr double kBurstSeconds = 0.1;     // of above_per_s: what a bucket holds

// Where in the body of a reply to `range` the object's byte `at` stands; nullopt = not in it, or
// not known without the object's size ("-n").
std::optional<uint64_t> place_in_body(std::string_view range, uint64_t at) {
  const RangeAnswer answer = resolve_range(range, UINT64_MAX);
  if (range.starts_with("bytes=-") || answer.kind == RangeAnswer::Kind::kUnsatisfiable)
    return std::nullopt;
  if (answer.kind == RangeAnswer::Kind::kWhole) return at;
  if (at < answer.range.begin || at >= answer.range.end) return std::nullopt;
  return at - answer.range.begin;
}

bool matches(const FaultRule& rule, const FaultQuestion& question) {
  if (rule.op.empty() ? question.op == kConnectOp : rule.op != question.op) return false;
  if (rule.reused && !question.reused) return false;
  if (rule.object_at != FaultRule::kAnywhere && !place_in_body(question.range, rule.object_at))
    return false;
  return glob_matches(rule.key, question.bucket_and_key);
}

double seconds_of(Nanos span) { return std::chrono::duration<double>(span).count(); }

// The same words as in the rule, numbers as numbers.
void append_word(std::string& text, std::string_view word, std::string_view value) {
  text += ", ";
  append_json_string(text, word);
  text += ": ";
  append_json_string(text, value);
}

}  // namespace

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

void FaultPlan::set(std::vector<FaultRule> rules, TimePoint now) {
  std::lock_guard lock(mutex_);
  entries_.clear();
  since_ = now;
  for (FaultRule& rule : rules) {
    Entry entry;
    entry.tokens = std::max(1.0, rule.above_per_s * kBurstSeconds);
    entry.filled = now;
    entry.count.rule = std::make_shared<const FaultRule>(std::move(rule));
    entries_.push_back(std::move(entry));
  }
  empty_ = entries_.empty();
}

// Everything after "matches", in the order of the header; a token is taken last, by those only that
// nothing else spares.
bool FaultPlan::fires(Entry& entry, const FaultQuestion& question, size_t number) const {
  const FaultRule& rule = *entry.count.rule;
  const uint64_t matched = entry.count.matched;
  if (rule.nth != 0 && matched != rule.nth) return false;
  if (rule.every != 0 && matched % rule.every != 0) return false;
  if (matched <= rule.after) return false;
  if (rule.times != 0 && entry.count.fired >= rule.times) return false;
  if (rule.attempts_below != 0 && question.attempt >= rule.attempts_below) return false;
  if (rule.above != 0 && question.in_flight <= rule.above) return false;
  const double age = seconds_of(question.now - since_);
  if (age < rule.from_s || (rule.until_s > 0 && age >= rule.until_s)) return false;
  const uint64_t seed = rule.seed != 0 ? rule.seed : question.seed;
  if (rule.probability < 1 && uniform_of(draw(seed, question.request_hash, question.attempt,
                                              kFaultPurpose + number)) >= rule.probability) {
    return false;
  }
  if (rule.above_per_s <= 0) return true;
  const double most = std::max(1.0, rule.above_per_s * kBurstSeconds);
  entry.tokens =
      std::min(most, entry.tokens + seconds_of(question.now - entry.filled) * rule.above_per_s);
  entry.filled = question.now;
  if (entry.tokens < 1) return true;
  entry.tokens -= 1;
  return false;
}

std::shared_ptr<const FaultRule> FaultPlan::next(const FaultQuestion& question) {
  if (empty_.load(std::memory_order_relaxed)) return nullptr;
  std::lock_guard lock(mutex_);
  for (size_t i = 0; i < entries_.size(); ++i) {
    Entry& entry = entries_[i];
    const FaultRule& rule = *entry.count.rule;
    if (!matches(rule, question)) continue;
    ++entry.count.matched;
    if (!fires(entry, question, i)) continue;
    ++entry.count.fired;
    if (rule.object_at == FaultRule::kAnywhere) return entry.count.rule;
    auto here = std::make_shared<FaultRule>(rule);
    here->at_byte = *place_in_body(question.range, rule.object_at);
    return here;
  }
  return nullptr;
}

std::vector<FaultCount> FaultPlan::counts() const {
  std::lock_guard lock(mutex_);
  std::vector<FaultCount> counts;
  for (const Entry& entry : entries_) counts.push_back(entry.count);
  return counts;
}

std::string FaultPlan::json() const {
  std::string text = "{\"rules\": [";
  for (const FaultCount& count : counts()) {
    if (text.back() != '[') text += ", ";
    text += "{\"kind\": \"" + std::string(fault_kind_name(count.rule->kind)) + '"';
    append_word(text, "op", count.rule->op);
    append_word(text, "key", count.rule->key);
    if (!count.rule->label.empty()) append_word(text, "label", count.rule->label);
    text += ", \"matched\": " + std::to_string(count.matched) +
            ", \"fired\": " + std::to_string(count.fired) + "}";
  }
  return text + "]}\n";
}

}  // namespace headrace::serve
