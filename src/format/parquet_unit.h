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
#include "format/unit_table.h"

namespace headrace {

// A run of the object and where it goes in the buffer.
struct UnitRead {
  ByteRange range;
  uint64_t at = 0;
};

// Columns of a unit that one small file holds, all of `rows` rows; the unit's first row is its row `skip`.
struct UnitPart {
  std::vector<uint32_t> fields;  // as numbered in ParquetSchema::fields()
  uint64_t rows = 0;
  uint64_t skip = 0;
};

struct ParquetUnit {
  std::vector<UnitRead> reads;
  uint64_t read_bytes = 0;    // of all reads
  uint64_t buffer_bytes = 0;
  std::vector<UnitPart> parts;
};

// `fields`: ascending numbers in schema.fields(). Runs with less than `gap_bytes_max` between them are read as one.
ParquetUnit parquet_unit(const ParquetSchema& schema, const UnitGroup& group, uint64_t row_begin, uint64_t row_end,
                         const std::vector<uint32_t>& fields, uint64_t gap_bytes_max);

// Writes the part's footer into the buffer, which has the unit's bytes; the small file is what is returned.
Bytes write_small_file(const ParquetSchema& schema, const UnitGroup& group, const ParquetUnit& unit,
                       const UnitPart& part, uint64_t row_begin, uint64_t row_end, MutableBytes buffer);

}  // namespace headrace
