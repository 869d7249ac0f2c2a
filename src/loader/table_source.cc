// SPDX-License-Identifier: Apache-2.0
#include "loader/table_source.h"

#include <algorithm>

namespace headrace {
namespace {

// As FetchOptions::gap_bytes_max.
constexpr uint64_t kGapBytesMax = 64 << 10;
// Beside its bytes a value of text or a list has an offset, and every value may have a bit.
constexpr uint64_t kValueBytes = 5;

}  // namespace

Result<std::shared_ptr<const TableSource>> TableSource::make(std::shared_ptr<const DatasetIndex> index,
                                                             std::shared_ptr<const ShardCounts> counts,
                                                             const std::vector<std::string>& fields,
                                                             std::shared_ptr<const ArrowDecoder> decoder,
                                                             Executor& executor) {
  auto out = std::shared_ptr<TableSource>(
      new TableSource(std::move(index), std::move(counts), std::move(decoder), executor));
  const UnitTable& table = out->table();
  for (size_t f = 0; f < table.fields().size(); ++f) {
    const bool wanted = fields.empty() || std::ranges::find(fields, table.fields()[f].name) != fields.end();
    if (wanted) out->fields_.push_back(f);
  }
  for (const std::string& name : fields) {
    if (std::ranges::find(table.fields(), name, &UnitField::name) == table.fields().end()) {
      return invalid_argument("read columns: no column '" + name + "'");
    }
  }
  out->schemas_.reserve(table.schemas());
  for (uint64_t file = 0; file < table.files() && out->schemas_.size() < table.schemas(); ++file) {
    if (table.schema_number(file) != out->schemas_.size()) continue;
    HR_TRY_ASSIGN(ParquetSchema schema, ParquetSchema::decode(as_bytes(table.schema(file))));
    std::vector<uint32_t> numbers;
    std::vector<int32_t> places;
    for (size_t f : out->fields_) {
      const auto found = std::ranges::find(schema.fields(), table.fields()[f].name, &UnitField::name);
      places.push_back(found == schema.fields().end() ? -1 : static_cast<int32_t>(found - schema.fields().begin()));
      if (places.back() >= 0) numbers.push_back(static_cast<uint32_t>(places.back()));
    }
    std::ranges::sort(numbers);
    out->schema_fields_.push_back(std::move(numbers));
    out->field_of_.push_back(std::move(places));
    out->schemas_.push_back(std::move(schema));
  }
  for (uint64_t u = 0; u < table.units(); ++u) {
    const uint64_t bytes = out->decoded_guess(table.unit(u));
    out->decoded_bytes_ += bytes;
    out->unit_bytes_max_ = std::max(out->unit_bytes_max_, bytes);
  }
  out->sample_bytes_mean_ = std::max<uint64_t>(1, out->decoded_bytes_ / std::max<uint64_t>(1, out->counts_->total()));
  return std::shared_ptr<const TableSource>(std::move(out));
}

ParquetUnit TableSource::layout(const UnitTable::Unit& unit) const {
  const uint32_t schema = table().schema_number(unit.file);
  return parquet_unit(schemas_[schema], table().group(unit), unit.row_begin, unit.row_end, schema_fields_[schema],
                      kGapBytesMax);
}

UnitSource::Place TableSource::place(uint64_t number) const {
  const UnitTable::Unit& unit = table().unit(number);
  const UnitFile& file = table().file(unit.file);
  uint64_t row = unit.row_begin;
  for (uint32_t g = 0; g < unit.group; ++g) row += file.groups[g].rows;
  return {unit.file, row, table().group_range(unit)};
}

// The wanted columns' pages uncompressed, and what decoding adds.
uint64_t TableSource::decoded_guess(const UnitTable::Unit& unit) const {
  const uint32_t schema = table().schema_number(unit.file);
  const UnitGroup& group = table().group(unit);
  uint64_t bytes = 0;
  for (uint32_t f : schema_fields_[schema]) {
    const UnitField& field = schemas_[schema].fields()[f];
    for (uint32_t leaf = field.leaf; leaf < field.leaf + field.leaves; ++leaf) {
      const UnitChunk& chunk = group.chunks[leaf];
      const UnitPages pages = field.leaves > 1 ? UnitPages{{0, chunk.data_bytes}, 0, group.rows}
                                               : pages_of_rows(group, chunk, unit.row_begin, unit.row_end);
      const double share = static_cast<double>(pages.row_end - pages.row_begin) / static_cast<double>(group.rows);
      const auto all = static_cast<double>(chunk.decoded_bytes + chunk.values * kValueBytes);
      bytes += static_cast<uint64_t>(share * all);
    }
  }
  return bytes;
}

UnitSource::Need TableSource::need(uint64_t number) const {
  const UnitTable::Unit& unit = table().unit(number);
  ParquetUnit laid = layout(unit);
  Need need;
  need.reads = std::move(laid.reads);
  need.read_bytes = laid.read_bytes;
  need.buffer_bytes = laid.buffer_bytes;
  need.decoded_bytes = decoded_guess(unit) * unfolded_.load(std::memory_order_relaxed) / 256;
  return need;
}

Result<std::shared_ptr<const UnitRows>> TableSource::decode(uint64_t number, MutableBytes buffer) const {
  const UnitTable::Unit& unit = table().unit(number);
  const uint32_t schema = table().schema_number(unit.file);
  const ParquetUnit laid = layout(unit);
  std::vector<ArrowTable> tables;
  for (const UnitPart& part : laid.parts) {
    const Bytes file = write_small_file(schemas_[schema], table().group(unit), laid, part, unit.row_begin, unit.row_end,
                                        buffer);
    HR_TRY_ASSIGN(ArrowTable decoded, decoder_->decode_parquet(file));
    tables.push_back(std::move(decoded));
  }
  std::vector<UnitColumn> columns;
  for (size_t k = 0; k < fields_.size(); ++k) {
    UnitColumn column{table().fields()[fields_[k]], -1, 0};
    const int32_t f = field_of_[schema][k];
    for (size_t p = 0; f >= 0 && p < laid.parts.size(); ++p) {
      if (std::ranges::find(laid.parts[p].fields, static_cast<uint32_t>(f)) == laid.parts[p].fields.end()) continue;
      column.table = static_cast<int>(p);
      column.skip = laid.parts[p].skip;
    }
    columns.push_back(std::move(column));
  }
  HR_TRY_ASSIGN(std::shared_ptr<const UnitRows> rows,
                UnitRows::make(unit.rows(), std::move(columns), std::move(tables)));
  const uint64_t guess = std::max<uint64_t>(1, decoded_guess(unit));
  const uint64_t seen = rows->bytes() * 256 / guess + 1;
  uint64_t most = unfolded_.load(std::memory_order_relaxed);
  while (seen > most && !unfolded_.compare_exchange_weak(most, seen)) {}
  return rows;
}

std::string TableSource::smaller_units_hint() const {
  return "write the Parquet files with smaller row groups (row_group_size=) or with a page index "
         "(write_page_index=True)";
}

}  // namespace headrace
