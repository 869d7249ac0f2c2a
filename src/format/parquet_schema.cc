// SPDX-License-Identifier: Apache-2.0
#include "format/parquet_schema.h"

#include <algorithm>

#include "base/checked.h"
#include "format/parquet_types.h"

namespace headrace {
namespace {

using thrift::Field;
using thrift::Reader;
using thrift::Writer;

constexpr int32_t kFixedLists = 100;  // of an encoded schema: names and lengths by turns

Status bad(const std::string& cause) { return corrupt("read Parquet schema: " + cause); }

ParquetElement read_element(Reader& in) {
  ParquetElement out;
  Field f;
  const auto number = [&] { return static_cast<int32_t>(in.integer(f)); };
  for (in.begin(f); in.next(f);) {
    switch (f.id) {
      case 1: out.type = number(); break;
      case 2: out.type_length = number(); break;
      case 3: out.repetition = number(); break;
      case 4: out.name = in.binary(f); break;
      case 5: out.children = static_cast<uint32_t>(std::clamp<int64_t>(in.integer(f), 0, kParquetElementsMax)); break;
      case 6: out.converted = number(); break;
      case 7: out.scale = number(); break;
      case 8: out.precision = number(); break;
      case 10: {
        const size_t begin = in.offset();
        in.skip(f);
        if (!in.failed()) out.logical = as_text(in.bytes().subspan(begin, in.offset() - begin));
        break;
      }
      default: in.skip(f);
    }
  }
  return out;
}

}  // namespace

Result<ParquetSchema> ParquetSchema::parse(Reader& in, const Field& field) {
  ParquetSchema out;
  const uint32_t n = in.list(field, thrift::kStruct);
  if (in.failed() || n == 0 || n > kParquetElementsMax) {
    return bad(std::to_string(n) + " elements; at least 1, at most " + std::to_string(kParquetElementsMax));
  }
  for (uint32_t i = 0; i < n && !in.failed(); ++i) out.elements_.push_back(read_element(in));
  if (in.failed()) return bad("the list of elements ends early");
  HR_TRY(out.link());
  return out;
}

Result<ParquetSchema> ParquetSchema::decode(Bytes encoded) {
  Reader in(encoded);
  Field f;
  if (!in.next(f) || f.id != 2) return bad("it is not there");
  HR_TRY_ASSIGN(ParquetSchema out, parse(in, f));
  std::vector<std::pair<std::string, uint64_t>> lists;
  while (in.next(f)) {  // fields of ours, behind Parquet's
    if (f.id != kFixedLists) {
      in.skip(f);
      continue;
    }
    const uint32_t n = in.list(f, thrift::kBinary);
    for (uint32_t i = 0; i + 1 < n; i += 2) {
      const std::string name(in.list_binary());
      lists.emplace_back(name, parse_decimal(in.list_binary()).value_or(0));
    }
  }
  if (in.failed()) return bad("it ends early");
  out.set_fixed_lists(lists);
  return out;
}

void ParquetSchema::set_fixed_lists(const std::vector<std::pair<std::string, uint64_t>>& lists) {
  for (UnitField& field : fields_) {
    for (const auto& [name, length] : lists) {
      if (field.name != name || field.value != UnitValue::kList || length == 0) continue;
      field.value = UnitValue::kArray;
      field.length = length;
      field.type += "[" + std::to_string(length) + "]";
    }
  }
}

std::string ParquetSchema::encode() const {
  Writer out;
  out.begin_struct();
  out.list(2, thrift::kStruct, elements_.size());
  for (const ParquetElement& element : elements_) write_element(out, element, element.children);
  std::vector<std::string> lists;
  for (const UnitField& field : fields_) {
    if (field.value != UnitValue::kArray) continue;
    lists.push_back(field.name);
    lists.push_back(std::to_string(field.length));
  }
  if (!lists.empty()) {
    out.list(kFixedLists, thrift::kBinary, lists.size());
    for (const std::string& text : lists) out.list_binary(text);
  }
  out.end_struct();
  return out.text();
}

Status ParquetSchema::link() {
  uint32_t next = 0;
  HR_TRY(walk(0, 0, next));
  if (next != elements_.size()) return bad("elements that belong to no column");
  if (leaves_.empty()) return bad("no columns");
  uint32_t first = 0;
  for (uint32_t at = 1; at < elements_.size(); at = elements_[at].end) {
    uint32_t last = first;
    while (last < leaves_.size() && leaves_[last] < elements_[at].end) ++last;
    add_fields(at, first, last - first);
    first = last;
  }
  return {};
}

Status ParquetSchema::walk(uint32_t at, uint32_t depth, uint32_t& next) {
  if (depth > kParquetDepthMax) return bad("nested deeper than " + std::to_string(kParquetDepthMax));
  if (at >= elements_.size()) return bad("elements are missing");
  next = at + 1;
  if (elements_[at].children == 0 && at > 0) {
    if (!elements_[at].type) return bad("column '" + elements_[at].name + "' has no type");
    leaves_.push_back(at);
  }
  for (uint32_t i = 0; i < elements_[at].children; ++i) HR_TRY(walk(next, depth + 1, next));
  elements_[at].end = next;
  return {};
}

// {bytes, path}, as Hugging Face stores images and audio, gives two fields; every other column is one.
void ParquetSchema::add_fields(uint32_t at, uint32_t first_leaf, uint32_t leaves) {
  const ParquetElement& top = elements_[at];
  const bool is_file = top.children == 2 && leaves == 2 && top.repetition != kParquetRepeated &&
                       elements_[at + 1].name == "bytes" && elements_[at + 1].type == kParquetByteArray &&
                       elements_[at + 2].name == "path" && elements_[at + 2].type == kParquetByteArray;
  if (!is_file) {
    fields_.push_back(parquet_field(&elements_[at], leaves));
    fields_.back().leaf = first_leaf;
    fields_.back().leaves = leaves;
    return;
  }
  for (uint32_t i = 0; i < 2; ++i) {
    UnitField field = parquet_field(&elements_[at + 1 + i], 1);
    field.path.insert(field.path.begin(), top.name);
    field.name = i == 0 ? top.name : top.name + ".path";
    field.leaf = first_leaf + i;
    fields_.push_back(std::move(field));
  }
}

std::vector<std::string> ParquetSchema::leaf_path(size_t i) const {
  std::vector<std::string> path;
  for (uint32_t at = 1; at <= leaves_[i];) {
    if (leaves_[i] >= elements_[at].end) {
      at = elements_[at].end;  // a neighbour
    } else {
      path.push_back(elements_[at].name);
      ++at;
    }
  }
  return path;
}

void ParquetSchema::write(Writer& out, int32_t id, const std::vector<uint32_t>& leaves) const {
  std::vector<uint32_t> kept;  // elements
  std::vector<uint32_t> wanted;
  for (uint32_t leaf : leaves) wanted.push_back(leaves_[leaf]);
  const auto has_wanted = [&](uint32_t at) {
    const auto it = std::ranges::lower_bound(wanted, at);
    return it != wanted.end() && *it < elements_[at].end;
  };
  for (uint32_t at = 0; at < elements_.size(); at = has_wanted(at) ? at + 1 : elements_[at].end) {
    if (has_wanted(at)) kept.push_back(at);
  }
  out.list(id, thrift::kStruct, kept.size());
  for (uint32_t at : kept) {
    uint32_t children = 0;
    for (uint32_t child = at + 1; child < elements_[at].end; child = elements_[child].end) {
      children += has_wanted(child) ? 1 : 0;
    }
    write_element(out, elements_[at], children);
  }
}

void ParquetSchema::write_element(Writer& out, const ParquetElement& element, uint32_t children) const {
  out.begin_struct();
  if (element.type) out.integer(1, thrift::kI32, *element.type);
  if (element.type_length) out.integer(2, thrift::kI32, *element.type_length);
  if (element.repetition) out.integer(3, thrift::kI32, *element.repetition);
  out.binary(4, element.name);
  if (children > 0) out.integer(5, thrift::kI32, children);
  if (element.converted) out.integer(6, thrift::kI32, *element.converted);
  if (element.scale) out.integer(7, thrift::kI32, *element.scale);
  if (element.precision) out.integer(8, thrift::kI32, *element.precision);
  if (!element.logical.empty()) out.raw_struct(10, element.logical);
  out.end_struct();
}

}  // namespace headrace
