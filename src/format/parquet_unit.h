// SPDX-License-Identifier: Apache-2.0
//
// A unit of a Parquet file, for the columns that are wanted: which bytes of the object to read to which place of one
// buffer, and the footers that make small Parquet files of that buffer, one for each set of columns whose pages cover
// the same rows. Any Parquet library decodes them; it never sees the user's own footer. Pure.
//
// The buffer: "PAR1", the bytes read, room for one footer. A file is the buffer up to the end of the footer that was
// last written there.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "format/parquet_schema.h"
#include "format/unit_codec.h"
#include "format/unit_table.h"

namespace headrace {

// `fields`: ascending numbers in schema.fields(). Runs with less than `gap_bytes_max` between them are read as one.
UnitLayout parquet_unit(const ParquetSchema& schema, const UnitGroup& group, uint64_t row_begin, uint64_t row_end,
                         const std::vector<uint32_t>& fields, uint64_t gap_bytes_max);

// Writes the part's footer into the buffer, which has the unit's bytes; the small file is what is returned.
Bytes write_small_file(const ParquetSchema& schema, const UnitGroup& group, const UnitLayout& unit,
                       const UnitPart& part, uint64_t row_begin, uint64_t row_end, MutableBytes buffer);

// The codec of an encoded ParquetSchema.
Result<std::shared_ptr<const UnitCodec>> make_parquet_codec(const std::string& encoded);

}  // namespace headrace
