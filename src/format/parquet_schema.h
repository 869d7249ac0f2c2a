// SPDX-License-Identifier: Apache-2.0
//
// The schema of a Parquet file: the tree of its footer, its leaves (what is stored as a column chunk each), and the
// fields that headrace makes of its columns (docs/formats/parquet.md). Knows no pages and no row groups.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "format/thrift.h"
#include "format/unit_field.h"

namespace headrace {

inline constexpr uint32_t kParquetElementsMax = 20'000;
inline constexpr uint32_t kParquetDepthMax = 32;

// A schema element as the footer has it. What is not there is nothing.
struct ParquetElement {
  std::string name;
  std::optional<int32_t> type, type_length, repetition, converted, scale, precision;
  std::string logical;  // the union's bytes, as stored
  uint32_t children = 0;

  // Found by walking the tree.
  uint32_t end = 0;  // behind the last element below this one
};

class ParquetSchema {
 public:
  // From the list of elements as the footer has it: `field` is the list's.
  static Result<ParquetSchema> parse(thrift::Reader& in, const thrift::Field& field);
  // From what encode() gave.
  static Result<ParquetSchema> decode(Bytes encoded);
  std::string encode() const;

  size_t leaves() const { return leaves_.size(); }
  const ParquetElement& leaf(size_t i) const { return elements_[leaves_[i]]; }
  std::vector<std::string> leaf_path(size_t i) const;
  // The fields, in stored order, each with the leaves that hold it.
  const std::vector<UnitField>& fields() const { return fields_; }

  // Lists of numbers that always are so long are arrays.
  void set_fixed_lists(const std::vector<std::pair<std::string, uint64_t>>& lists);

  // Field `id` of a footer: the schema with nothing but these leaves (ascending) and what stands above them.
  void write(thrift::Writer& out, int32_t id, const std::vector<uint32_t>& leaves) const;

 private:
  Status link();
  Status walk(uint32_t at, uint32_t depth, uint32_t& next);
  void add_fields(uint32_t at, uint32_t first_leaf, uint32_t leaves);
  void write_element(thrift::Writer& out, const ParquetElement& element, uint32_t children) const;

  std::vector<ParquetElement> elements_;
  std::vector<uint32_t> leaves_;  // element of each
  std::vector<UnitField> fields_;
};

}  // namespace headrace
