// SPDX-License-Identifier: Apache-2.0
#include "format/jsonl.h"

#include <algorithm>
#include <charconv>

#include "base/endian.h"
#include "format/lines.h"
#include "format/row_begins.h"

namespace headrace {
namespace {

std::string number(uint64_t n) { return std::to_string(n); }
constexpr size_t kNoColumn = ~size_t{0};
constexpr std::byte kFalse{0}, kTrue{1};

// As MDS stores an array of one dimension and a fixed dtype: the shape in 8 bytes, then the values.
constexpr size_t kArrayHead = 9;
constexpr std::byte kOneDimension{1 << 2 | 3};

template <class T>
bool parse_all(std::string_view text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

template <class T>
bool array_field(const JsonValue& value, SampleBatchView& out, Bytes& field) {
  std::vector<JsonValue> values;
  if (!read_json_array(value.text, values).ok()) return false;
  const size_t bytes = kArrayHead + values.size() * sizeof(T);
  char* room = out.text_room(bytes);
  room[0] = static_cast<char>(kOneDimension);
  store_le<uint64_t>(room + 1, values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    const bool fits = values[i].kind == JsonKind::kInteger ||
                      (values[i].kind == JsonKind::kFloat && std::is_floating_point_v<T>);
    T parsed{};
    if (!fits || !parse_all(values[i].text, parsed)) return false;
    store_le<T>(room + kArrayHead + i * sizeof(T), parsed);
  }
  field = as_bytes({room, bytes});
  return true;
}

bool text_field(const JsonValue& value, SampleBatchView& out, Bytes& field) {
  field = as_bytes(value.text);
  if (!value.escaped) return true;
  char* room = out.text_room(value.text.size());
  const Result<size_t> made = unescape_json(value.text, room);
  if (made.ok()) field = as_bytes({room, *made});
  return made.ok();
}

}  // namespace

bool jsonl_field(const MdsEncoding& type, const JsonValue& value, SampleBatchView& out, Bytes& field) {
  const JsonKind kind = value.kind;
  const bool is_number = kind == JsonKind::kInteger || kind == JsonKind::kFloat;
  field = as_bytes(value.text);
  switch (type.kind) {
    case MdsKind::kStr:
      return kind == JsonKind::kString && text_field(value, out, field);
    case MdsKind::kStrInt:
      return kind == JsonKind::kInteger;
    case MdsKind::kStrFloat:
      return is_number;
    case MdsKind::kScalar:
      field = Bytes(value.text == "true" ? &kTrue : &kFalse, 1);
      return kind == JsonKind::kBool;
    case MdsKind::kNdarray:
      if (kind != JsonKind::kArray) return false;
      return type.dtype == MdsDtype::kInt64 ? array_field<int64_t>(value, out, field)
                                            : array_field<double>(value, out, field);
    default:
      break;
  }
  // json: a string with its quotes.
  if (kind == JsonKind::kString) field = as_bytes({value.text.data() - 1, value.text.size() + 2});
  return true;
}

JsonlCutter::JsonlCutter(JsonlSchema schema) : schema_(std::move(schema)), line_field_(schema_.line_field()) {}

// Lines mostly have their keys in one order: `hint` is where this one is expected.
size_t JsonlCutter::column_of(std::string_view key, size_t hint) const {
  const std::vector<MdsColumn>& columns = schema_.columns;
  if (hint < columns.size() && columns[hint].name == key) return hint;
  const auto found = std::ranges::find(columns, key, &MdsColumn::name);
  return found == columns.end() ? kNoColumn : static_cast<size_t>(found - columns.begin());
}

Status JsonlCutter::cut_line(std::string_view line, SampleBatchView& out, std::vector<JsonMember>& members,
                             std::vector<FieldView>& fields) const {
  const std::vector<MdsColumn>& columns = schema_.columns;
  members.clear();
  fields.assign(columns.size(), FieldView{});
  if (!columns.empty()) HR_TRY(read_json_object(line, members));
  for (size_t i = 0; i < members.size(); ++i) {
    std::string_view key = members[i].key.text;
    if (members[i].key.escaped) {
      char* room = out.text_room(key.size());
      HR_TRY_ASSIGN(const size_t made, unescape_json(key, room));
      key = {room, made};
    }
    const size_t c = column_of(key, i);
    if (c == kNoColumn) continue;
    fields[c] = {};  // the last one of a name counts, as in Python
    Bytes field;
    if (jsonl_field(columns[c].encoding, members[i].value, out, field)) {
      fields[c] = {columns[c].name, field, static_cast<uint32_t>(c)};
    }
  }
  for (size_t c = 0; c < columns.size(); ++c) {
    const bool missing = fields[c].id == kFieldUnknown;
    if (!missing) out.add_field(fields[c]);
    else if (columns[c].encoding.kind == MdsKind::kJson)
      out.add_field({columns[c].name, as_bytes("null"), static_cast<uint32_t>(c)});
  }
  out.add_field({line_field_, as_bytes(line), static_cast<uint32_t>(columns.size())});
  return {};
}

Status JsonlCutter::cut(Bytes bytes, uint64_t rows, SampleBatchView& out) const {
  const size_t before = out.size();
  uint64_t row = 0;
  size_t at = 0;
  std::vector<JsonMember> members;
  std::vector<FieldView> fields;
  const auto fail = [&](const Status& status) {
    out.truncate(before);
    return status.with_context("cut JSON lines, row " + number(row) + ", at byte " + number(at));
  };
  for (std::string_view rest = as_text(bytes); !rest.empty();) {
    const size_t end = rest.find(schema_.newline);
    const std::string_view line = end == rest.npos ? rest : rest.substr(0, end + schema_.newline.size());
    rest.remove_prefix(line.size());
    if (!is_blank_line(line)) {
      if (row == rows) return fail(corrupt("a line behind the last sample"));
      out.begin_sample({});
      Status status = cut_line(line_text(line, schema_.newline), out, members, fields);
      if (!status.ok()) return fail(status);
      ++row;
    }
    at += line.size();
  }
  if (row < rows) return fail(corrupt("the bytes end after " + number(row) + " of " + number(rows) + " lines"));
  return {};
}

Status JsonlCutter::find_rows(const CutPlace&, Bytes bytes, uint64_t rows, std::vector<uint32_t>& begins) const {
  LineRules rules;
  rules.newline = schema_.newline;
  const auto scanner = make_line_scanner(std::move(rules), {.sample_bytes_max = bytes.size()});
  return begins_by_scanner(*scanner, bytes, rows, begins);
}

namespace {

class JsonlFormat final : public ShardFormat {
 public:
  explicit JsonlFormat(JsonlSchema schema) : schema_(std::move(schema)) {}
  Format format() const override { return Format::kJsonl; }
  std::string schema_json() const override { return schema_.json(); }
  std::vector<MdsColumn> columns() const override { return schema_.columns; }
  std::vector<FieldEntry> fields() const override {
    std::vector<FieldEntry> fields;
    for (const MdsColumn& c : schema_.columns) fields.push_back({c.name, 0});
    fields.push_back({schema_.line_field(), 0});
    return fields;
  }
  bool learns() const override { return true; }
  Result<std::shared_ptr<const ShardFormat>> learned(const std::vector<std::string>& samples) const override {
    JsonlSchemaLearner learner;
    Status first_fault;
    size_t good = 0;
    for (const std::string& line : samples) {
      Status status = learner.add(line_text(line, "\n"));
      good += status.ok();
      if (first_fault.ok()) first_fault = std::move(status);
    }
    if (good == 0 && !first_fault.ok()) return first_fault;
    return make_jsonl_format(learner.schema());
  }

  std::shared_ptr<const Cutter> cutter(const std::vector<FieldEntry>&) const override {
    return std::make_shared<JsonlCutter>(schema_);
  }
  std::unique_ptr<Indexer> indexer(uint64_t, const ShardEntry& entry, IndexerOptions options) const override {
    return make_line_indexer({}, entry.size, fields(), options);
  }
  std::unique_ptr<SampleScanner> scanner(uint64_t, const ScanStart& start) const override {
    return make_line_scanner({}, start);
  }

 private:
  const JsonlSchema schema_;
};

}  // namespace

std::shared_ptr<const ShardFormat> make_jsonl_format(JsonlSchema schema) {
  return std::make_shared<JsonlFormat>(std::move(schema));
}

}  // namespace headrace
