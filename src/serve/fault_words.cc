// SPDX-License-Identifier: Apache-2.0
//
// The words of fault rules: names, ranges, and which of them a kind takes. Strict, because a drill
// whose rule has a typing error passes for the wrong reason.
#include <algorithm>
#include <array>
#include <charconv>
#include <variant>

#include "base/checked.h"
#include "serve/faults.h"

namespace headrace::serve {
namespace {

using Field = std::variant<std::string FaultRule::*, uint64_t FaultRule::*, int64_t FaultRule::*,
                           double FaultRule::*, bool FaultRule::*>;
struct Word {
  std::string_view name;
  Field field;
  bool selects;  // which requests: every kind takes it
};

constexpr std::array kWords = {
    Word{"label", &FaultRule::label, true},
    Word{"op", &FaultRule::op, true},
    Word{"key", &FaultRule::key, true},
    Word{"reused", &FaultRule::reused, true},
    Word{"object_at", &FaultRule::object_at, true},
    Word{"nth", &FaultRule::nth, true},
    Word{"every", &FaultRule::every, true},
    Word{"after", &FaultRule::after, true},
    Word{"times", &FaultRule::times, true},
    Word{"attempts_below", &FaultRule::attempts_below, true},
    Word{"above", &FaultRule::above, true},
    Word{"above_per_s", &FaultRule::above_per_s, true},
    Word{"from_s", &FaultRule::from_s, true},
    Word{"until_s", &FaultRule::until_s, true},
    Word{"probability", &FaultRule::probability, true},
    Word{"seed", &FaultRule::seed, true},
    Word{"at", &FaultRule::at_byte, false},
    Word{"where", &FaultRule::where, false},
    Word{"status", &FaultRule::status, false},
    Word{"code", &FaultRule::code, false},
    Word{"message", &FaultRule::message, false},
    Word{"html", &FaultRule::html, false},
    Word{"retry_after_s", &FaultRule::retry_after_s, false},
    Word{"location", &FaultRule::location, false},
    Word{"region", &FaultRule::region, false},
    Word{"seconds", &FaultRule::seconds, false},
    Word{"ms", &FaultRule::ms, false},
    Word{"bytes_per_s", &FaultRule::bytes_per_s, false},
    Word{"header", &FaultRule::header, false},
    Word{"value", &FaultRule::value, false},
    Word{"add", &FaultRule::add, false},
    Word{"pad", &FaultRule::pad, false},
    Word{"count", &FaultRule::count, false},
    Word{"how", &FaultRule::how, false},
};
static_assert(kWords.size() <= 64);  // FaultRule::words

struct KindRow {
  std::string_view name;
  FaultKind kind;
  std::string_view takes;  // words, beside those that select
  std::string_view hows;   // what `how` may be
};

constexpr std::array<KindRow, 28> kKinds = {{
    {"status", FaultKind::kStatus, " status code message html retry_after_s region ", ""},
    {"redirect", FaultKind::kRedirect, " status location region ", ""},
    {"skew", FaultKind::kSkew, " seconds ", ""},
    {"reset", FaultKind::kReset, " at where ", ""},
    {"stall", FaultKind::kStall, " at where ms ", ""},
    {"truncate", FaultKind::kTruncate, " at where ", ""},
    {"drip", FaultKind::kDrip, " at bytes_per_s ", ""},
    {"garbage", FaultKind::kGarbage, " at where ", ""},
    {"tls-alert", FaultKind::kTlsAlert, "", ""},
    {"delay", FaultKind::kDelay, " ms ", ""},
    {"flip", FaultKind::kFlip, " at ", ""},
    {"scramble", FaultKind::kScramble, " at ", ""},
    {"splice", FaultKind::kSplice, " at ", ""},
    {"wrong-range", FaultKind::kWrongRange, "", ""},
    {"short-range", FaultKind::kShortRange, " count ", ""},
    {"wrong-total", FaultKind::kWrongTotal, " count ", ""},
    {"whole", FaultKind::kWhole, "", ""},
    {"multipart", FaultKind::kMultipart, "", ""},
    {"etag", FaultKind::kEtag, "", ""},
    {"replaced", FaultKind::kReplaced, "", ""},
    {"header", FaultKind::kHeader, " header value add pad ", ""},
    {"status-line", FaultKind::kStatusLine, " value ", ""},
    {"head", FaultKind::kHead, " value ", ""},
    {"interim", FaultKind::kInterim, " count ", ""},
    {"extra", FaultKind::kExtra, " count ", ""},
    {"chunked", FaultKind::kChunked, " how ",
     " good no-end bad-size huge-size no-crlf with-length short long trailer "},
    {"gzip", FaultKind::kGzip, "", ""},
    {"xml", FaultKind::kXml, " how ",
     " cut empty garbage wrong-root bomb external deep huge bad-size bad-utf8 same-token no-token "
     "empty-page unsorted duplicate foreign-key "},
}};

constexpr size_t kTextBytesMax = 64 << 10;
constexpr uint64_t kCountMax = 1'000'000;
constexpr int64_t kSecondsMax = 366 * 86'400;
constexpr double kMsMax = 3.6e6;

// One of the words in " a b c ".
bool lists(std::string_view words, std::string_view word) {
  return words.find(" " + std::string(word) + " ") != words.npos;
}

Status bad_field(std::string_view word, std::string_view value, const std::string& want) {
  return invalid_argument("read fault rule: '" + std::string(word) + "=" +
                          std::string(value.substr(0, 80)) + "': " + want);
}

std::string names_of(const auto& rows) {
  std::string names;
  for (const auto& row : rows) names += (names.empty() ? "" : ", ") + std::string(row.name);
  return names;
}

Status set_text(std::string& field, std::string_view word, std::string_view value) {
  if (value.size() > kTextBytesMax) return bad_field(word, value, "longer than 64 KiB");
  field = value;
  return {};
}

Status set_count(uint64_t& field, std::string_view word, std::string_view value) {
  const auto number = parse_decimal(value);
  if (!number) return bad_field(word, value, "want a whole number");
  field = *number;
  return {};
}

Status set_signed(int64_t& field, std::string_view word, std::string_view value) {
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), field);
  if (error != std::errc() || end != value.data() + value.size())
    return bad_field(word, value, "want a whole number");
  return {};
}

Status set_real(double& field, std::string_view word, std::string_view value) {
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), field);
  if (error != std::errc() || end != value.data() + value.size())
    return bad_field(word, value, "want a number");
  return {};
}

Status set_truth(bool& field, std::string_view word, std::string_view value) {
  if (value != "true" && value != "false" && value != "1" && value != "0")
    return bad_field(word, value, "want true or false");
  field = value == "true" || value == "1";
  return {};
}

Status set_kind(FaultRule& rule, std::string_view value) {
  for (const KindRow& row : kKinds) {
    if (row.name == value) return rule.kind = row.kind, Status();
  }
  return bad_field("kind", value, "one of " + names_of(kKinds));
}

const KindRow& row_of(FaultKind kind) {
  return *std::find_if(kKinds.begin(), kKinds.end(),
                       [&](const KindRow& row) { return row.kind == kind; });
}

Status out_of(std::string_view word, std::string_view range) {
  return invalid_argument("read fault rule: " + std::string(word) + " not in " +
                          std::string(range));
}

Status check_words(const FaultRule& rule, const KindRow& row) {
  for (size_t i = 0; i < kWords.size(); ++i) {
    if ((rule.words >> i & 1) != 0 && !kWords[i].selects && !lists(row.takes, kWords[i].name)) {
      const std::string takes = row.takes.empty()
                                    ? "no words of its own"
                                    : std::string(row.takes.substr(1, row.takes.size() - 2));
      return invalid_argument("read fault rule: '" + std::string(kWords[i].name) +
                              "' means nothing for kind=" + std::string(row.name) +
                              ", which takes " + takes);
    }
  }
  return {};
}

// What only one kind needs.
Status check_kind(const FaultRule& rule, const KindRow& row) {
  if (row.hows.empty() == false && !lists(row.hows, rule.how)) {
    return bad_field("how", rule.how,
                     "one of" + std::string(row.hows.substr(0, row.hows.size() - 1)));
  }
  if (rule.kind == FaultKind::kHeader && rule.header.empty())
    return invalid_argument("read fault rule: kind=header wants header=NAME");
  if (rule.kind == FaultKind::kRedirect && (rule.status < 301 || rule.status > 308))
    return invalid_argument("read fault rule: kind=redirect wants a status in [301, 308]");
  const bool at_connect = rule.kind == FaultKind::kReset || rule.kind == FaultKind::kTruncate ||
                          rule.kind == FaultKind::kStall || rule.kind == FaultKind::kGarbage ||
                          rule.kind == FaultKind::kTlsAlert;
  if (rule.op == kConnectOp && !at_connect) {
    return invalid_argument(
        "read fault rule: op=Connect takes the kinds reset, truncate, stall, garbage, tls-alert");
  }
  if (rule.op != kConnectOp && rule.kind == FaultKind::kTlsAlert)
    return invalid_argument("read fault rule: kind=tls-alert wants op=Connect");
  return {};
}

}  // namespace

std::string_view fault_kind_name(FaultKind kind) { return row_of(kind).name; }

Status set_fault_field(FaultRule& rule, std::string_view word, std::string_view value) {
  if (word == "kind") return set_kind(rule, value);
  for (size_t i = 0; i < kWords.size(); ++i) {
    if (kWords[i].name != word) continue;
    rule.words |= uint64_t{1} << i;
    if (word == "value") rule.has_value = true;
    const Field& field = kWords[i].field;
    if (const auto* text = std::get_if<0>(&field)) return set_text(rule.**text, word, value);
    if (const auto* count = std::get_if<1>(&field)) return set_count(rule.**count, word, value);
    if (const auto* number = std::get_if<2>(&field)) return set_signed(rule.**number, word, value);
    if (const auto* real = std::get_if<3>(&field)) return set_real(rule.**real, word, value);
    return set_truth(rule.*std::get<4>(field), word, value);
  }
  return bad_field(word, value, "known words are kind, " + names_of(kWords));
}

Status check_fault_rule(const FaultRule& rule) {
  if (!(rule.probability >= 0 && rule.probability <= 1)) return out_of("probability", "[0, 1]");
  if (!(rule.ms >= 0 && rule.ms <= kMsMax)) return out_of("ms", "[0, 3600000]");
  if (!(rule.bytes_per_s >= 1)) return invalid_argument("read fault rule: bytes_per_s below 1");
  if (!(rule.above_per_s >= 0 && rule.above_per_s <= 1e9)) return out_of("above_per_s", "[0, 1e9]");
  if (!(rule.from_s >= 0 && rule.from_s <= 1e9)) return out_of("from_s", "[0, 1e9]");
  if (!(rule.until_s >= 0 && rule.until_s <= 1e9)) return out_of("until_s", "[0, 1e9]");
  if (rule.status != 200 && (rule.status < 300 || rule.status > 599))
    return out_of("status", "[300, 599], or 200");
  if (rule.retry_after_s > kCountMax) return out_of("retry_after_s", "[0, 1000000]");
  if (rule.count > kCountMax) return out_of("count", "[0, 1000000]");
  if (rule.pad > kCountMax) return out_of("pad", "[0, 1000000]");
  if (rule.seconds < -kSecondsMax || rule.seconds > kSecondsMax)
    return out_of("seconds", "a year either way");
  if (!lists(" head body ", rule.where)) return out_of("where", "head, body");
  const KindRow& row = row_of(rule.kind);
  HR_TRY(check_words(rule, row));
  return check_kind(rule, row);
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

}  // namespace headrace::serve
