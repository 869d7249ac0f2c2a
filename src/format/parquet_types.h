// SPDX-License-Identifier: Apache-2.0
//
// What a column of a Parquet schema is as a field: physical, converted and logical types to UnitField, as pyarrow reads
// them. Private to the Parquet reader.
#pragma once

#include "format/parquet_schema.h"

namespace headrace {

inline constexpr int32_t kParquetBoolean = 0, kParquetInt32 = 1, kParquetInt64 = 2, kParquetInt96 = 3,
                         kParquetFloat = 4, kParquetDouble = 5, kParquetByteArray = 6, kParquetFixedBytes = 7;
inline constexpr int32_t kParquetRequired = 0, kParquetOptional = 1, kParquetRepeated = 2;

// `element`: the first of a column's elements, which lie one after another; `leaves` of them are leaves. Name, value,
// dtype, type and path are set.
UnitField parquet_field(const ParquetElement* element, uint32_t leaves);

}  // namespace headrace
