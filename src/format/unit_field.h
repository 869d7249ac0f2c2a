// SPDX-License-Identifier: Apache-2.0
//
// UnitField: a field of a data set whose samples are decoded a unit at a time (Parquet, Arrow), and what one value of
// it looks like once it is decoded.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace headrace {

// The numbers are part of index files: never reuse one.
enum class UnitValue : uint8_t {
  kScalar = 1,   // a little-endian number of `dtype`
  kText = 2,     // UTF-8
  kBytes = 3,
  kDecimal = 4,  // text: "-12.50"
  kList = 5,     // numbers of `dtype`, as many as there are
  kArray = 6,    // numbers of `dtype`, always `length`
  kJson = 7      // everything else, as JSON text
};

struct UnitField {
  std::string name;
  UnitValue value = UnitValue::kBytes;
  std::string dtype;     // numpy's name; of kScalar, kList, kArray
  uint64_t length = 0;   // of kArray
  std::string type;      // for people, as Arrow spells it: "timestamp[us]", "list<int32>"
  uint32_t leaf = 0, leaves = 1;     // where it is stored: [leaf, leaf + leaves) of the schema; 0 leaves: partitions.h
  std::vector<std::string> path;     // names from the top column to the value; Arrow's columns have these

  friend bool operator==(const UnitField&, const UnitField&) = default;
};

}  // namespace headrace
