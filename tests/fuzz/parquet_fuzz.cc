// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as a Parquet file, or, behind a first byte of 1, as a table of units. What is indexed without an error has
// its chunks inside the file, survives the index's encoding, and every unit of it can be laid out and given a footer
// that is Parquet again.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "format/parquet.h"
#include "format/parquet_unit.h"

using namespace headrace;

namespace {

void check(bool good) {
  if (!good) __builtin_trap();
}

Result<ShardIndex> indexed(const std::string& file) {
  const auto indexer = make_parquet_indexer(file.size());
  auto step = indexer->next({});
  while (step.ok() && !step->done) {
    check(step->need.end <= file.size() && !step->need.empty());
    step = indexer->next(as_bytes(std::string_view(file).substr(step->need.begin, step->need.size())));
  }
  if (!step.ok()) return step.status();
  return std::move(*step->done);
}

// Fields of many leaves and units of many bytes only cost time here.
constexpr uint64_t kUnitBytesMax = 1 << 20;
constexpr size_t kUnitsMax = 8;

void lay_out(const UnitFile& file, const UnitTable& table) {
  auto schema = ParquetSchema::decode(as_bytes(table.schema(0)));
  check(schema.ok());
  std::vector<uint32_t> fields(schema->fields().size());
  for (uint32_t i = 0; i < fields.size(); ++i) fields[i] = i;
  for (uint64_t u = 0; u < std::min<uint64_t>(table.units(), kUnitsMax); ++u) {
    const UnitTable::Unit& at = table.unit(u);
    const UnitGroup& group = file.groups[at.group];
    const UnitLayout unit = parquet_unit(*schema, group, at.row_begin, at.row_end, fields, 1000);
    if (unit.buffer_bytes > kUnitBytesMax) continue;
    std::string buffer(unit.buffer_bytes, '\0');
    for (const UnitRead& read : unit.reads) check(read.at + read.range.size() <= buffer.size());
    for (const UnitPart& part : unit.parts) {
      check(part.skip + at.rows() <= part.rows);
      const Bytes small =
          write_small_file(*schema, group, unit, part, at.row_begin, at.row_end,
                           {reinterpret_cast<std::byte*>(buffer.data()), buffer.size()});
      const auto again = indexed(std::string(as_text(small)));
      // Only chunks that overlapped are cut short.
      if (again.ok()) check(again->samples == part.rows);
    }
  }
}

void as_table(Bytes bytes) {
  const auto table = UnitTable::decode(bytes, {"a", "b"}, {1 << 20, 1 << 30});
  if (!table.ok()) return;
  const auto again = UnitTable::decode(as_bytes((*table)->encode()), {"a", "b"}, {1 << 20, 1 << 30});
  check(again.ok() && (*again)->counts() == (*table)->counts());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Bytes bytes = std::as_bytes(std::span(data, size));
  if (size > 0 && data[0] == 1) {
    as_table(bytes.subspan(1));
    return 0;
  }
  const std::string file(as_text(bytes));
  const auto found = indexed(file);
  if (!found.ok()) return 0;
  for (const UnitGroup& group : found->units->groups) {
    for (const UnitChunk& chunk : group.chunks) check(chunk.end() <= file.size());
  }
  const auto table = UnitTable::make({*found->units}, {"a"});
  if (!table.ok()) return 0;
  const auto again = UnitTable::decode(as_bytes((*table)->encode()), {"a"}, {file.size()});
  check(again.ok() && (*again)->encode() == (*table)->encode());
  lay_out(*found->units, **table);
  return 0;
}
