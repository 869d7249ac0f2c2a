// SPDX-License-Identifier: Apache-2.0
#include "format/unit_rows.h"

#include <algorithm>
#include <cstring>
#include <limits>

namespace headrace {
namespace {

// Arrow's letter of a dtype; dates and times are whole numbers of their width.
bool is_of_dtype(std::string_view format, std::string_view dtype) {
  if (dtype == "bool") return format == "b";
  static constexpr std::pair<std::string_view, char> kLetters[] = {
      {"int8", 'c'}, {"uint8", 'C'}, {"int16", 's'},   {"uint16", 'S'},  {"int32", 'i'},  {"uint32", 'I'},
      {"int64", 'l'}, {"uint64", 'L'}, {"float16", 'e'}, {"float32", 'f'}, {"float64", 'g'}};
  for (const auto& [name, letter] : kLetters) {
    if (name == dtype && format.size() == 1 && format[0] == letter) return true;
  }
  const uint64_t width = ArrowCell::fixed_width(format);
  return format[0] == 't' && ((dtype == "int32" && width == 4) || (dtype == "int64" && width == 8));
}

bool is_of(const ArrowSchema& schema, const UnitField& field) {
  const ArrowSchema& values = schema.dictionary != nullptr ? *schema.dictionary : schema;
  const std::string_view format = values.format;
  if (format == "n") return true;
  switch (field.value) {
    case UnitValue::kScalar: return is_of_dtype(format, field.dtype);
    case UnitValue::kText: return format == "u" || format == "U";
    case UnitValue::kBytes: return format == "z" || format == "Z" || format.starts_with("w:");
    case UnitValue::kDecimal: return format.starts_with("d:");
    case UnitValue::kList:
    case UnitValue::kArray: {
      const bool is_list = format == "+l" || format == "+L" || format.starts_with("+w:");
      return is_list && is_of_dtype(values.children[0]->format, field.dtype);
    }
    case UnitValue::kJson: return !format.starts_with("v") && !format.starts_with("+v") && !format.starts_with("+u") &&
                                  !format.starts_with("+r");
  }
  return false;
}

uint64_t buffers_bytes(const ArrowSchema& schema, const ArrowArray& array) {
  const std::string_view format = schema.format;
  const auto n = static_cast<uint64_t>(array.length + array.offset);
  uint64_t bytes = array.null_count != 0 ? n / 8 : 0;
  const bool wide = format == "U" || format == "Z" || format == "+L";
  if (format == "u" || format == "z" || wide || format == "+l" || format == "+m") {
    bytes += (n + 1) * (wide ? 8 : 4);
    if (format[0] != '+' && n > 0) {
      bytes += wide ? static_cast<uint64_t>(static_cast<const int64_t*>(array.buffers[1])[n])
                    : static_cast<uint64_t>(static_cast<const int32_t*>(array.buffers[1])[n]);
    }
  } else if (format == "b") {
    bytes += n / 8;
  } else {
    bytes += n * ArrowCell::fixed_width(format);
  }
  for (int64_t i = 0; i < array.n_children; ++i) bytes += buffers_bytes(*schema.children[i], *array.children[i]);
  if (array.dictionary != nullptr) bytes += buffers_bytes(*schema.dictionary, *array.dictionary);
  return bytes;
}

// Of a text that stays; an empty one is not a null.
Bytes constant_bytes(const std::string& text) {
  return Bytes{reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

template <class T>
void fill_nan(MutableBytes out, uint64_t i) {
  const T nan = std::numeric_limits<T>::quiet_NaN();
  std::memcpy(out.data() + i * sizeof(T), &nan, sizeof(T));
}

}  // namespace

Result<std::shared_ptr<const UnitRows>> UnitRows::make(uint64_t rows, std::vector<UnitColumn> columns,
                                                       std::vector<ArrowTable> tables) {
  auto out = std::make_shared<UnitRows>();
  out->rows_ = rows;
  out->tables_ = std::move(tables);
  for (const ArrowTable& table : out->tables_) {
    if (table.in_place()) out->in_place_ = true;
    else out->bytes_ += buffers_bytes(table.schema(), table.array());
  }
  for (UnitColumn& column : columns) {
    Column found;
    if (column.table >= 0) {
      HR_TRY(find_column(column, out->tables_[static_cast<size_t>(column.table)], rows, found));
    }
    found.field = std::move(column.field);
    found.skip = column.skip;
    found.find_direct();
    out->columns_.push_back(std::move(found));
  }
  return std::shared_ptr<const UnitRows>(std::move(out));
}

Status UnitRows::find_column(const UnitColumn& column, const ArrowTable& table, uint64_t rows, Column& found) {
  const auto bad = [&](const std::string& cause) {
    return corrupt("decode column '" + column.field.name + "': " + cause);
  };
  const ArrowSchema* schema = &table.schema();
  const ArrowArray* array = &table.array();
  if (static_cast<uint64_t>(array->length) < column.skip + rows) {
    return bad(std::to_string(array->length) + " rows, " + std::to_string(column.skip + rows) + " are wanted");
  }
  for (const std::string& name : column.field.path) {
    int64_t i = 0;
    while (i < schema->n_children && name != schema->children[i]->name) ++i;
    if (i == schema->n_children) return bad("the decoded table has no such column");
    schema = schema->children[i];
    array = array->children[i];
    found.arrays.push_back(array);
  }
  if (!is_of(*schema, column.field)) {
    return bad("type '" + std::string(schema->format) + "' where the index says " + column.field.type);
  }
  found.schema = schema;
  return {};
}

void UnitRows::Column::find_direct() {
  const UnitValue kind = field.value;
  const bool plain = kind == UnitValue::kScalar || kind == UnitValue::kText || kind == UnitValue::kBytes;
  if (!plain || schema == nullptr || arrays.size() != 1 || schema->dictionary != nullptr) return;
  const ArrowArray& array = *arrays[0];
  const std::string_view format = schema->format;
  if (array.n_buffers < 2 || (array.null_count != 0 && array.buffers[0] != nullptr)) return;
  const uint64_t begin = static_cast<uint64_t>(array.offset) + skip;
  const auto* values = static_cast<const std::byte*>(array.buffers[1]);
  if (format == "u" || format == "z") {
    offsets = static_cast<const int32_t*>(array.buffers[1]) + begin;
    data = static_cast<const std::byte*>(array.buffers[2]);
  } else if (format == "U" || format == "Z") {
    wide_offsets = static_cast<const int64_t*>(array.buffers[1]) + begin;
    data = static_cast<const std::byte*>(array.buffers[2]);
  } else if (width = ArrowCell::fixed_width(format); width > 0) {
    data = values + begin * width;
  }
}

Bytes UnitRows::Column::direct(uint64_t row) const {
  if (width > 0) return {data + row * width, width};
  if (offsets != nullptr) return {data + offsets[row], static_cast<size_t>(offsets[row + 1] - offsets[row])};
  return {data + wide_offsets[row], static_cast<size_t>(wide_offsets[row + 1] - wide_offsets[row])};
}

Status UnitRows::sample(uint64_t row, SampleBatchView& out) const {
  HR_ASSERT(row < rows_);
  out.begin_sample({});
  for (const Column& column : columns_) {
    FieldView view;
    view.name = column.field.name;
    if (column.data != nullptr) view.bytes = column.direct(row);
    else HR_TRY(value(column, row, out, view.bytes));
    out.add_field(view);
  }
  return {};
}

Status UnitRows::value(const Column& column, uint64_t row, SampleBatchView& out, Bytes& bytes) const {
  bytes = column.field.value == UnitValue::kJson ? as_bytes("null") : Bytes{};  // a null
  if (column.schema == nullptr) {  // the same in all rows: a partition's value (partitions.h), or null
    if (column.field.leaves == 0 && !column.field.path.empty()) bytes = constant_bytes(column.field.path[0]);
    return {};
  }
  // The table's own array may be sliced; its columns then begin at its offset.
  ArrowCell cell{column.schema, nullptr, static_cast<int64_t>(row + column.skip)};
  for (const ArrowArray* array : column.arrays) {
    if (cell.array != nullptr) {
      static constexpr ArrowSchema kStruct{.format = "+s", .name = "", .metadata = nullptr, .flags = 0,
                                           .n_children = 0, .children = nullptr, .dictionary = nullptr,
                                           .release = nullptr, .private_data = nullptr};
      if (ArrowCell{&kStruct, cell.array, cell.at}.is_null()) return {};
      cell.at += cell.array->offset;
    }
    cell.array = array;
  }
  cell = cell.resolved();
  if (cell.is_null()) return {};
  switch (column.field.value) {
    case UnitValue::kScalar:
      if (cell.format() == "b") {
        char* room = out.text_room(1);
        *room = cell.boolean() ? 1 : 0;
        bytes = as_bytes({room, 1});
      } else {
        bytes = cell.fixed(ArrowCell::fixed_width(cell.format()));
      }
      return {};
    case UnitValue::kText:
    case UnitValue::kBytes:
      bytes = cell.format()[0] == 'w' ? cell.fixed(ArrowCell::fixed_width(cell.format())) : cell.variable();
      return {};
    case UnitValue::kDecimal:
      bytes = as_bytes(out.keep(cell.decimal()));
      return {};
    case UnitValue::kJson: {
      std::string text;
      append_json(cell, text);
      bytes = as_bytes(out.keep(text));
      return {};
    }
    case UnitValue::kList:
    case UnitValue::kArray: return list_value(column, cell, out, bytes);
  }
  return {};
}

Status UnitRows::list_value(const Column& column, const ArrowCell& cell, SampleBatchView& out, Bytes& bytes) const {
  int64_t length = 0;
  const ArrowCell first = cell.list_begin(length);
  const UnitField& field = column.field;
  if (field.value == UnitValue::kArray && static_cast<uint64_t>(length) != field.length) {
    return corrupt("field '" + field.name + "': " + std::to_string(length) + " values in an array of " +
                   std::to_string(field.length));
  }
  const uint64_t width = ArrowCell::fixed_width(first.format());
  static constexpr std::byte kNothing{};
  bytes = length == 0 ? Bytes{&kNothing, 0} : Bytes{first.fixed(width).data(), width * static_cast<uint64_t>(length)};
  std::vector<uint64_t> nulls;
  for (int64_t i = 0; first.array->null_count != 0 && i < length; ++i) {
    if (ArrowCell{first.schema, first.array, first.at + i}.is_null()) nulls.push_back(static_cast<uint64_t>(i));
  }
  if (nulls.empty()) return {};
  if (!field.dtype.starts_with("float")) {
    return unsupported("field '" + field.name + "': null at place " + std::to_string(nulls[0]) + " of a " + field.type +
                       ": whole numbers have no value for it");
  }
  const MutableBytes copy{reinterpret_cast<std::byte*>(out.text_room(bytes.size())), bytes.size()};
  std::memcpy(copy.data(), bytes.data(), bytes.size());
  for (uint64_t i : nulls) {
    if (width == 8) fill_nan<double>(copy, i);
    else if (width == 4) fill_nan<float>(copy, i);
    else std::memcpy(copy.data() + i * 2, "\x00\x7e", 2);  // float16's
  }
  bytes = copy;
  return {};
}

}  // namespace headrace
