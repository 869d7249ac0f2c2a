// SPDX-License-Identifier: Apache-2.0
//
// What columns JSON lines have: by the kinds of values that each key had in the lines looked at.
#include <algorithm>
#include <charconv>
#include <map>

#include "base/utf8.h"
#include "format/jsonl.h"

namespace headrace {
namespace {

// Kinds of values, as bits.
enum Kinds : uint32_t {
  kString = 1,
  kInt64 = 2,
  kNumber = 4,  // with a fraction or exponent, or beyond int64
  kBoolean = 8,
  kInts = 16,     // a list of at least one int64
  kNumbers = 32,  // a list of numbers, one of them no int64
  kEmpty = 64,    // an empty list
  kOther = 128,
};

bool fits_int64(std::string_view text) {
  int64_t value = 0;
  return std::from_chars(text.data(), text.data() + text.size(), value).ec == std::errc();
}

uint32_t kind_of_array(std::string_view text) {
  std::vector<JsonValue> values;
  if (!read_json_array(text, values).ok()) return kOther;
  uint32_t kind = kEmpty;
  for (const JsonValue& v : values) {
    if (v.kind != JsonKind::kInteger && v.kind != JsonKind::kFloat) return kOther;
    if (v.kind == JsonKind::kFloat || !fits_int64(v.text)) kind = kNumbers;
    else if (kind == kEmpty) kind = kInts;
  }
  return kind;
}

uint32_t kind_of(const JsonValue& value) {
  switch (value.kind) {
    case JsonKind::kString:
      return kString;
    case JsonKind::kInteger:
      return fits_int64(value.text) ? kInt64 : kNumber;
    case JsonKind::kFloat:
      return kNumber;
    case JsonKind::kBool:
      return kBoolean;
    case JsonKind::kArray:
      return kind_of_array(value.text);
    case JsonKind::kNull:
    case JsonKind::kObject:
      break;
  }
  return kOther;
}

std::string_view type_of(uint32_t kinds) {
  if (kinds == kString) return "str";
  if (kinds == kInt64) return "str_int";
  if ((kinds & ~uint32_t{kInt64 | kNumber}) == 0) return "str_float";
  if (kinds == kBoolean) return "uint8";
  if (kinds == kInts || kinds == (kInts | kEmpty)) return "ndarray:int64";
  if ((kinds & kNumbers) != 0 && (kinds & ~uint32_t{kNumbers | kInts | kEmpty}) == 0) return "ndarray:float64";
  return "json";
}

}  // namespace

struct JsonlSchemaLearner::Seen {
  std::string name;
  uint64_t lines = 0;  // that have it
  uint32_t kinds = 0;
};

JsonlSchemaLearner::JsonlSchemaLearner() = default;
JsonlSchemaLearner::~JsonlSchemaLearner() = default;

Status JsonlSchemaLearner::add(std::string_view line) {
  std::vector<JsonMember> members;
  Status status = read_json_object(line, members);
  if (!status.ok()) {
    // Another value than an object is a line all the same, but has no columns.
    std::vector<JsonValue> values;
    if (!read_json_array("[" + std::string(line) + "]", values).ok() || values.size() != 1) return status;
    if (values[0].kind == JsonKind::kObject) return status;
    objects_only_ = false;
    return {};
  }
  std::map<std::string, uint32_t> kinds;
  std::vector<std::string> order;
  for (const JsonMember& member : members) {
    std::string name(member.key.text.size(), '\0');
    HR_TRY_ASSIGN(const size_t size, unescape_json(member.key.text, name.data()));
    name.resize(size);
    if (const size_t good = utf8_bytes(as_bytes(name)); good < name.size()) {
      return corrupt("JSON: a name is not UTF-8 at its byte " + std::to_string(good) + ", behind \"" +
                     name.substr(0, good) + "\"");
    }
    if (!kinds.contains(name)) order.push_back(name);
    kinds[name] = kind_of(member.value);
  }
  ++lines_;
  for (const std::string& name : order) {
    auto at = std::ranges::find(seen_, name, &Seen::name);
    if (at == seen_.end()) at = seen_.insert(at, {name});
    ++at->lines;
    at->kinds |= kinds[name];
  }
  return {};
}

JsonlSchema JsonlSchemaLearner::schema() const {
  JsonlSchema schema;
  if (!objects_only_ || seen_.size() > kMdsColumnsMax) return schema;
  for (const Seen& s : seen_) {
    const std::string_view type = s.lines == lines_ ? type_of(s.kinds) : "json";
    schema.columns.push_back({s.name, parse_mds_encoding(type).value()});
  }
  return schema;
}

std::string JsonlSchema::json() const {
  return columns.empty() ? "{}" : MdsSchema{columns}.json();
}

Result<JsonlSchema> JsonlSchema::from_json(std::string_view text) {
  JsonlSchema schema;
  if (text.empty() || text == "{}") return schema;
  HR_TRY_ASSIGN(MdsSchema columns, MdsSchema::from_json(text));
  schema.columns = std::move(columns.columns);
  return schema;
}

std::string JsonlSchema::line_field() const {
  const bool taken = std::ranges::any_of(columns, [](const MdsColumn& c) { return c.name == "line"; });
  return taken ? "__line__" : "line";
}

}  // namespace headrace
