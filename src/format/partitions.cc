// SPDX-License-Identifier: Apache-2.0
#include "format/partitions.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>

#include "base/endian.h"

namespace headrace {
namespace {

constexpr std::string_view kNull = "__HIVE_DEFAULT_PARTITION__";
constexpr size_t kPartitionsMax = 64;

// "%3A" is ":".
std::string unescaped(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned code = 0;
    const bool escape = text[i] == '%' && i + 2 < text.size();
    const auto end = escape ? std::from_chars(text.data() + i + 1, text.data() + i + 3, code, 16).ptr : nullptr;
    if (escape && end == text.data() + i + 3) {
      out += static_cast<char>(code);
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

// (name, value) of the folders, in order.
std::vector<std::pair<std::string, std::string>> pairs_of(std::string_view key) {
  std::vector<std::pair<std::string, std::string>> pairs;
  for (size_t at = 0, slash = key.find('/'); slash != key.npos; at = slash + 1, slash = key.find('/', at)) {
    const std::string_view folder = key.substr(at, slash - at);
    const size_t equals = folder.find('=');
    if (equals == folder.npos || equals == 0 || pairs.size() == kPartitionsMax) continue;
    pairs.emplace_back(unescaped(folder.substr(0, equals)), unescaped(folder.substr(equals + 1)));
  }
  return pairs;
}

std::optional<int64_t> whole_number(const std::string& text) {
  int64_t value = 0;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || fault != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (text != std::to_string(value)) return std::nullopt;  // "007" is a name
  return value;
}

}  // namespace

std::vector<UnitField> partition_fields(const std::vector<std::string>& keys) {
  std::map<std::string, size_t> having, numbers;
  std::vector<std::string> names;
  for (const std::string& key : keys) {
    const auto pairs = pairs_of(key);
    if (&key == &keys.front()) {
      for (const auto& pair : pairs) names.push_back(pair.first);
    }
    for (const auto& [name, value] : pairs) {
      ++having[name];
      numbers[name] += whole_number(value) || value == kNull;
    }
  }
  std::vector<UnitField> fields;
  for (const std::string& name : names) {
    if (having[name] != keys.size()) continue;
    UnitField field;
    field.name = name;
    const bool number = numbers[name] == keys.size();
    field.value = number ? UnitValue::kScalar : UnitValue::kText;
    if (number) field.dtype = "int64";
    field.type = number ? "int64 (a folder's name)" : "string (a folder's name)";
    field.leaves = 0;
    fields.push_back(std::move(field));
  }
  return fields;
}

UnitField partition_value(UnitField field, std::string_view key) {
  field.path.clear();
  for (const auto& [name, value] : pairs_of(key)) {
    if (name != field.name || value == kNull) continue;
    field.path = {value};
    if (field.value != UnitValue::kScalar) break;
    const auto number = whole_number(value);
    field.path = {std::string(8, '\0')};
    store_le<int64_t>(field.path[0].data(), number.value_or(0));
    break;
  }
  return field;
}

}  // namespace headrace
