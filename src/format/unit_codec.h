// SPDX-License-Identifier: Apache-2.0
//
// UnitCodec: how units of files of one schema are read: which bytes of the object go to which place of one buffer, and
// how small files are made of that buffer, which another library decodes. Parquet's is parquet_unit.h, Arrow's
// arrow_ipc.h. Pure.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "format/unit_field.h"

namespace headrace {

struct UnitGroup;  // format/unit_table.h

// A run of the object and where it goes in the buffer.
struct UnitRead {
  ByteRange range;
  uint64_t at = 0;
};

// Columns of a unit that one small file holds, all of `rows` rows; the unit's first row is its row `skip`.
struct UnitPart {
  std::vector<uint32_t> fields;  // as numbered in UnitCodec::fields()
  uint64_t rows = 0;
  uint64_t skip = 0;
};

struct UnitLayout {
  std::vector<UnitRead> reads;
  uint64_t read_bytes = 0;  // of all reads
  uint64_t buffer_bytes = 0;
  std::vector<UnitPart> parts;
};

// Appends the reads of a run of the object that goes to `at`, none of them longer than what a request should be;
// returns where it ends in the buffer.
uint64_t add_reads(ByteRange range, uint64_t at, std::vector<UnitRead>& reads);

class UnitCodec {
 public:
  virtual ~UnitCodec() = default;
  // Of an encoded schema (UnitFile::schema). kCorrupt, kUnsupported.
  static Result<std::shared_ptr<const UnitCodec>> make(const std::string& schema);

  virtual const std::vector<UnitField>& fields() const = 0;
  // `wanted`: ascending numbers in fields(). Runs with less than `gap_bytes_max` between them may be read as one.
  virtual UnitLayout lay_out(const UnitGroup& group, uint64_t row_begin, uint64_t row_end,
                             const std::vector<uint32_t>& wanted, uint64_t gap_bytes_max) const = 0;
  // The wanted columns of these rows once they are decoded, as far as the file says.
  virtual uint64_t decoded_bytes(const UnitGroup& group, uint64_t row_begin, uint64_t row_end,
                                 const std::vector<uint32_t>& wanted) const = 0;
  // The small file of a part, in the buffer that has the unit's bytes.
  virtual Bytes small_file(const UnitGroup& group, const UnitLayout& layout, const UnitPart& part, uint64_t row_begin,
                           uint64_t row_end, MutableBytes buffer) const = 0;
  // Small files are Arrow IPC streams, from which a part's columns are to be picked; else Parquet files of just these.
  virtual bool is_arrow() const = 0;
  // What writes smaller units.
  virtual std::string smaller_units_hint() const = 0;
};

}  // namespace headrace
