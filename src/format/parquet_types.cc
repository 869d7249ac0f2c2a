// SPDX-License-Identifier: Apache-2.0
#include "format/parquet_types.h"

namespace headrace {
namespace {

// ConvertedType and the ids of the LogicalType union, parquet.thrift.
enum Converted : int32_t {
  kUtf8 = 0, kMap = 1, kConvertedList = 3, kEnum = 4, kConvertedDecimal = 5, kConvertedDate = 6,
  kTimeMillis = 7, kTimeMicros = 8, kTimestampMillis = 9, kTimestampMicros = 10, kUint8 = 11, kInt64 = 18,
  kConvertedJson = 19
};
enum Logical : int32_t {
  kString = 1, kLogicalMap = 2, kLogicalList = 3, kLogicalEnum = 4, kDecimal = 5, kDate = 6, kTime = 7,
  kTimestamp = 8, kInteger = 10, kLogicalJson = 12, kUuid = 14, kFloat16 = 15
};

struct Annotation {
  int32_t logical = 0;  // 0: none
  bool is_utc = false;
  int32_t unit = 0;  // 1 ms, 2 us, 3 ns
  int32_t bits = 0;
  bool is_signed = true;
};

Annotation read_logical(const ParquetElement& element) {
  Annotation out;
  thrift::Reader in(as_bytes(element.logical));
  thrift::Field which, f;
  if (element.logical.empty() || !in.next(which)) return out;
  out.logical = which.id;
  const bool plain = which.id != kTime && which.id != kTimestamp && which.id != kInteger;
  if (plain || !in.enter(which)) return out;
  for (in.begin(f); in.next(f);) {
    if (which.id == kInteger && f.id == 1 && f.type == thrift::kByte) {
      out.bits = in.offset() < in.bytes().size() ? static_cast<int32_t>(in.bytes()[in.offset()]) : 0;
      in.skip(f);
    } else if (which.id == kInteger && f.id == 2) {
      out.is_signed = in.boolean(f);
    } else if (f.id == 1 && (f.type == thrift::kTrue || f.type == thrift::kFalse)) {
      out.is_utc = in.boolean(f);
    } else if (f.id == 2 && f.type == thrift::kStruct) {
      thrift::Field unit;
      if (in.next(unit)) out.unit = unit.id;
      in.skip(unit);
      while (in.next(unit)) in.skip(unit);
    } else {
      in.skip(f);
    }
  }
  return out;
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

std::string time_type(const char* name, int32_t unit, bool is_utc) {
  static constexpr const char* kUnits[] = {"?", "ms", "us", "ns"};
  return std::string(name) + "[" + kUnits[unit >= 1 && unit <= 3 ? unit : 0] + (is_utc ? ", UTC]" : "]");
}

UnitField integer_field(const ParquetElement& element, const Annotation& is, int32_t bits) {
  const int32_t converted = element.converted.value_or(-1);
  bool is_signed = true;
  if (is.logical == kInteger) {
    bits = is.bits;
    is_signed = is.is_signed;
  } else if (is.logical == kDate || converted == kConvertedDate) {
    return scalar("int32", "date32");
  } else if (is.logical == kTime || converted == kTimeMillis || converted == kTimeMicros) {
    const int32_t unit = is.unit ? is.unit : converted - kTimeMillis + 1;
    return scalar(bits == 32 ? "int32" : "int64", time_type("time", unit, false));
  } else if (is.logical == kTimestamp || converted == kTimestampMillis || converted == kTimestampMicros) {
    const bool utc = is.logical == kTimestamp ? is.is_utc : true;
    return scalar("int64", time_type("timestamp", is.unit ? is.unit : converted - kTimestampMillis + 1, utc));
  } else if (converted >= kUint8 && converted <= kInt64) {
    bits = 8 << ((converted - kUint8) % 4);
    is_signed = converted >= kUint8 + 4;
  }
  const bool known = bits == 8 || bits == 16 || bits == 32 || bits == 64;
  if (!known) return kept(UnitValue::kJson, "integer of " + std::to_string(bits) + " bits");
  return scalar((is_signed ? "int" : "uint") + std::to_string(bits));
}

UnitField leaf_field(const ParquetElement& element) {
  const Annotation is = read_logical(element);
  const int32_t converted = element.converted.value_or(-1);
  if (is.logical == kDecimal || converted == kConvertedDecimal) {
    return kept(UnitValue::kDecimal, "decimal(" + std::to_string(element.precision.value_or(0)) + ", " +
                                         std::to_string(element.scale.value_or(0)) + ")");
  }
  switch (element.type.value_or(-1)) {
    case kParquetBoolean: return scalar("bool");
    case kParquetInt32: return integer_field(element, is, 32);
    case kParquetInt64: return integer_field(element, is, 64);
    case kParquetInt96: return scalar("int64", "timestamp[ns]");
    case kParquetFloat: return scalar("float32");
    case kParquetDouble: return scalar("float64");
    case kParquetFixedBytes:
      if (is.logical == kFloat16) return scalar("float16");
      return kept(UnitValue::kBytes, is.logical == kUuid ? "uuid" : "fixed_size_binary");
    default: break;
  }
  const bool is_text = is.logical == kString || is.logical == kLogicalEnum || is.logical == kLogicalJson ||
                       converted == kUtf8 || converted == kEnum || converted == kConvertedJson;
  return kept(is_text ? UnitValue::kText : UnitValue::kBytes, is_text ? "string" : "binary");
}

// The element of a list of numbers: nullptr where the column is something else.
const ParquetElement* list_element(const ParquetElement* column) {
  if (column->repetition == kParquetRepeated) return column->children == 0 ? column : nullptr;
  const bool is_list = column->converted == kConvertedList || read_logical(*column).logical == kLogicalList;
  if (!is_list || column->children != 1) return nullptr;
  const ParquetElement* repeated = column + 1;
  if (repeated->repetition != kParquetRepeated) return nullptr;
  if (repeated->children == 0) return repeated;
  return repeated->children == 1 && repeated[1].children == 0 && repeated[1].repetition != kParquetRepeated
             ? repeated + 1
             : nullptr;
}

}  // namespace

UnitField parquet_field(const ParquetElement* element, uint32_t leaves) {
  UnitField out;
  const ParquetElement* inner = leaves == 1 ? list_element(element) : nullptr;
  if (inner != nullptr) {
    out = leaf_field(*inner);
    out.type = "list<" + out.type + ">";
    const bool numbers = out.value == UnitValue::kScalar && out.dtype != "bool";
    out.value = numbers ? UnitValue::kList : UnitValue::kJson;
    if (!numbers) out.dtype.clear();
  } else if (element->children == 0) {
    out = leaf_field(*element);
  } else {
    const bool is_map = element->converted == kMap || read_logical(*element).logical == kLogicalMap;
    const bool is_list = element->converted == kConvertedList || read_logical(*element).logical == kLogicalList;
    out = kept(UnitValue::kJson, is_map ? "map" : is_list ? "list" : "struct");
  }
  out.name = element->name;
  out.path = {element->name};
  return out;
}

}  // namespace headrace
