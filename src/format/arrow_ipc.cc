// SPDX-License-Identifier: Apache-2.0
//
// Messages and schemas, after Arrow's Message.fbs and Schema.fbs (field numbers are theirs).
#include "format/arrow_ipc.h"

#include <algorithm>
#include <cstring>

#include "format/flatbuffer.h"
#include "format/unit_table.h"

namespace headrace {
namespace {

Status bad(const std::string& cause) { return corrupt("read Arrow message: " + cause); }

enum Type : uint8_t {
  kNull = 1, kInt = 2, kFloat = 3, kBinary = 4, kUtf8 = 5, kBool = 6, kDecimal = 7, kDate = 8, kTime = 9,
  kTimestamp = 10, kList = 12, kStruct = 13, kFixedBinary = 15, kFixedList = 16, kMap = 17, kDuration = 18,
  kLargeBinary = 19, kLargeUtf8 = 20, kLargeList = 21, kBinaryView = 23, kUtf8View = 24
};

std::string unit_name(int16_t unit) {
  static constexpr const char* kUnits[] = {"s", "ms", "us", "ns"};
  return unit >= 0 && unit < 4 ? kUnits[unit] : "?";
}

UnitField scalar(std::string dtype, std::string type = "") {
  UnitField out;
  out.value = UnitValue::kScalar;
  out.type = type.empty() ? dtype : std::move(type);
  out.dtype = std::move(dtype);
  return out;
}
UnitField kept(UnitValue value, std::string type) {
  UnitField out;
  out.value = value;
  out.type = std::move(type);
  return out;
}

// A field's type, without its name: what one value of it is.
UnitField value_field(const FlatTable& field) {
  const FlatTable type = field.table(3);
  switch (field.number<uint8_t>(2, 0)) {
    case kInt: {
      const auto bits = type.number<int32_t>(0, 0);
      if (bits != 8 && bits != 16 && bits != 32 && bits != 64) break;
      return scalar((type.number<uint8_t>(1, 0) != 0 ? "int" : "uint") + std::to_string(bits));
    }
    case kFloat: {
      static constexpr const char* kNames[] = {"float16", "float32", "float64"};
      const auto precision = type.number<int16_t>(0, 0);
      if (precision < 0 || precision > 2) break;
      return scalar(kNames[precision]);
    }
    case kBool: return scalar("bool");
    case kDate: return type.number<int16_t>(0, 1) == 0 ? scalar("int32", "date32") : scalar("int64", "date64");
    case kTime: {
      const bool narrow = type.number<int32_t>(1, 32) == 32;
      return scalar(narrow ? "int32" : "int64", "time[" + unit_name(type.number<int16_t>(0, 1)) + "]");
    }
    case kTimestamp: {
      const std::string zone(type.text(1).substr(0, 64));
      const std::string unit = unit_name(type.number<int16_t>(0, 0));
      return scalar("int64", "timestamp[" + unit + (zone.empty() ? "]" : ", " + zone + "]"));
    }
    case kDuration: return scalar("int64", "duration[" + unit_name(type.number<int16_t>(0, 1)) + "]");
    case kUtf8:
    case kLargeUtf8:
    case kUtf8View: return kept(UnitValue::kText, "string");
    case kBinary:
    case kLargeBinary:
    case kBinaryView: return kept(UnitValue::kBytes, "binary");
    case kFixedBinary: return kept(UnitValue::kBytes, "fixed_size_binary");
    case kDecimal:
      return kept(UnitValue::kDecimal, "decimal(" + std::to_string(type.number<int32_t>(0, 0)) + ", " +
                                           std::to_string(type.number<int32_t>(1, 0)) + ")");
    case kList:
    case kLargeList:
    case kFixedList: {
      UnitField out = value_field(field.table(5, 0));
      const bool numbers = out.value == UnitValue::kScalar && out.dtype != "bool";
      const bool fixed = field.number<uint8_t>(2, 0) == kFixedList;
      const auto length = fixed ? type.number<int32_t>(0, 0) : 0;
      out.type = "list<" + out.type + ">" + (fixed ? "[" + std::to_string(length) + "]" : "");
      out.value = !numbers ? UnitValue::kJson : fixed && length > 0 ? UnitValue::kArray : UnitValue::kList;
      if (out.value == UnitValue::kArray) out.length = static_cast<uint64_t>(length);
      if (!numbers) out.dtype.clear();
      return out;
    }
    case kStruct: return kept(UnitValue::kJson, "struct");
    case kMap: return kept(UnitValue::kJson, "map");
    case kNull: return kept(UnitValue::kJson, "null");
    default: break;
  }
  return kept(UnitValue::kJson, "type " + std::to_string(field.number<uint8_t>(2, 0)));
}

// Every field of the tree is there, so that value_field() may go down.
Status check_field(const FlatTable& field, uint32_t depth, uint32_t& fields) {
  if (depth > kArrowDepthMax) return bad("a schema nested deeper than " + std::to_string(kArrowDepthMax));
  if (++fields > kArrowFieldsMax) return bad("more than " + std::to_string(kArrowFieldsMax) + " fields");
  const auto type = field.number<uint8_t>(2, 0);
  const uint32_t children = field.tables(5);
  const bool is_list = type == kList || type == kLargeList || type == kFixedList;
  if (!field.is_there() || (is_list && children != 1)) return bad("a field without what its type needs");
  for (uint32_t i = 0; i < children; ++i) HR_TRY(check_field(field.table(5, i), depth + 1, fields));
  return {};
}

bool is_bytes(const FlatTable& field) {
  const auto type = field.number<uint8_t>(2, 0);
  return type == kBinary || type == kLargeBinary;
}
bool is_text(const FlatTable& field) {
  const auto type = field.number<uint8_t>(2, 0);
  return type == kUtf8 || type == kLargeUtf8;
}

void add_fields(const FlatTable& field, std::vector<UnitField>& out) {
  const std::string name(field.text(0));
  if (field.number<uint8_t>(2, 0) == kStruct && field.tables(5) == 2) {
    const FlatTable first = field.table(5, 0), second = field.table(5, 1);
    if (first.text(0) == "bytes" && is_bytes(first) && second.text(0) == "path" && is_text(second)) {
      for (uint32_t i = 0; i < 2; ++i) {
        UnitField part = value_field(i == 0 ? first : second);
        part.name = i == 0 ? name : name + ".path";
        part.path = {name, i == 0 ? "bytes" : "path"};
        out.push_back(std::move(part));
      }
      return;
    }
  }
  UnitField whole = value_field(field);
  whole.name = name;
  whole.path = {name};
  out.push_back(std::move(whole));
}

}  // namespace

Result<ArrowMessageHead> parse_arrow_message(Bytes metadata) {
  bool fault = false;
  const FlatTable message = FlatTable::root(metadata, &fault);
  const auto version = message.number<int16_t>(0, 0);
  const auto kind = message.number<uint8_t>(1, 0);
  const auto body = message.number<int64_t>(3, 0);
  const FlatTable header = message.table(2);
  if (fault || !header.is_there()) return bad("its metadata are damaged");
  if (version != 3 && version != 4) {  // V4 and V5, since Arrow 0.8
    return unsupported("read Arrow message: metadata version " + std::to_string(version + 1));
  }
  if (kind < 1 || kind > 3) return unsupported("read Arrow message: kind " + std::to_string(kind) + ", no table's");
  ArrowMessageHead out;
  out.kind = static_cast<ArrowMessage>(kind);
  const FlatTable batch = out.kind == ArrowMessage::kDictionary ? header.table(1) : header;
  const int64_t rows = out.kind == ArrowMessage::kBatch ? header.number<int64_t>(0, 0) : 0;
  out.compressed = out.kind != ArrowMessage::kSchema && batch.table(3).is_there();
  if (fault || body < 0 || rows < 0 || static_cast<uint64_t>(rows) > kUnitRowsMax) {
    return bad("its metadata are damaged: body " + std::to_string(body) + ", rows " + std::to_string(rows));
  }
  out.rows = static_cast<uint64_t>(rows);
  out.body_bytes = static_cast<uint64_t>(body);
  return out;
}

Result<std::vector<UnitField>> parse_arrow_schema(Bytes metadata) {
  bool fault = false;
  const FlatTable schema = FlatTable::root(metadata, &fault).table(2);
  if (schema.number<int16_t>(0, 0) != 0) return unsupported("read Arrow schema: big-endian data");
  std::vector<UnitField> fields;
  uint32_t seen = 0;
  for (uint32_t i = 0; i < schema.tables(1) && !fault; ++i) {
    HR_TRY(check_field(schema.table(1, i), 0, seen));
    add_fields(schema.table(1, i), fields);
  }
  if (fault) return bad("its schema is damaged");
  if (fields.empty()) return bad("a schema without columns");
  return fields;
}

std::shared_ptr<const ShardFormat> make_arrow_format() {
  class ArrowFormat final : public ShardFormat {
   public:
    Format format() const override { return Format::kArrow; }
    bool by_units() const override { return true; }
    bool indexed_by_reading() const override { return false; }
    bool streams() const override { return false; }
    std::shared_ptr<const Cutter> cutter(const std::vector<FieldEntry>&) const override { return nullptr; }
    std::unique_ptr<Indexer> indexer(uint64_t, const ShardEntry& entry, IndexerOptions) const override {
      return make_arrow_indexer({0, entry.size});
    }
    std::unique_ptr<SampleScanner> scanner(uint64_t, const ScanStart&) const override { return nullptr; }
  };
  return std::make_shared<ArrowFormat>();
}

}  // namespace headrace
