// SPDX-License-Identifier: Apache-2.0
//
// Hive-style partitions: folders named "name=value" in a file's key, as Spark, Hive and pyarrow write them, are columns
// whose value is the same in all rows of the file (docs/formats/parquet.md).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "format/unit_field.h"

namespace headrace {

// Fields of the names that every key has: int64 where all values are whole numbers, else text. UnitField::leaves is 0.
std::vector<UnitField> partition_fields(const std::vector<std::string>& keys);
// The field with its value in a file, as UnitRows wants it: path is the stored bytes, or empty for null.
UnitField partition_value(UnitField field, std::string_view key);

}  // namespace headrace
