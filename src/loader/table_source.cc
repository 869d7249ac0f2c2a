// SPDX-License-Identifier: Apache-2.0
#include "loader/table_source.h"

#include <algorithm>

#include "format/partitions.h"
#include "format/unit_checks.h"

namespace headrace {
namespace {

// As FetchOptions::gap_bytes_max.
constexpr uint64_t kGapBytesMax = 64 << 10;

// Names of the columns at the top that hold a part's fields, each once.
std::vector<std::string> top_columns(const UnitCodec& codec, const UnitPart& part) {
  std::vector<std::string> names;
  for (uint32_t f : part.fields) {
    const std::string& name = codec.fields()[f].path.front();
    if (std::ranges::find(names, name) == names.end()) names.push_back(name);
  }
  return names;
}

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
  for (uint32_t schema = 0; schema < table.schemas(); ++schema) {
    const std::vector<UnitField>& mine = table.codec(schema).fields();
    std::vector<uint32_t> numbers;
    std::vector<int32_t> places;
    for (size_t f : out->fields_) {
      const auto found = std::ranges::find(mine, table.fields()[f].name, &UnitField::name);
      places.push_back(found == mine.end() ? -1 : static_cast<int32_t>(found - mine.begin()));
      if (places.back() >= 0) numbers.push_back(static_cast<uint32_t>(places.back()));
    }
    if (numbers.empty()) numbers.push_back(0);  // folders' names only: rows are counted by something
    std::ranges::sort(numbers);
    out->schema_fields_.push_back(std::move(numbers));
    out->field_of_.push_back(std::move(places));
  }
  for (uint64_t u = 0; u < table.units(); ++u) {
    const uint64_t bytes = out->decoded_guess(table.unit(u));
    out->decoded_bytes_ += bytes;
    out->unit_bytes_max_ = std::max(out->unit_bytes_max_, bytes);
  }
  out->sample_bytes_mean_ = std::max<uint64_t>(1, out->decoded_bytes_ / std::max<uint64_t>(1, out->counts_->total()));
  return std::shared_ptr<const TableSource>(std::move(out));
}

UnitLayout TableSource::layout(const UnitTable::Unit& unit) const {
  const uint32_t schema = table().schema_number(unit.file);
  return table().codec(schema).lay_out(table().group(unit), unit.row_begin, unit.row_end, schema_fields_[schema],
                                       kGapBytesMax);
}

UnitSource::Place TableSource::place(uint64_t number) const {
  const UnitTable::Unit& unit = table().unit(number);
  const UnitFile& file = table().file(unit.file);
  uint64_t row = unit.row_begin;
  for (uint32_t g = 0; g < unit.group; ++g) row += file.groups[g].rows;
  return {unit.file, row, table().group_range(unit)};
}

uint64_t TableSource::decoded_guess(const UnitTable::Unit& unit) const {
  const uint32_t schema = table().schema_number(unit.file);
  return table().codec(schema).decoded_bytes(table().group(unit), unit.row_begin, unit.row_end, schema_fields_[schema]);
}

UnitSource::Need TableSource::need(uint64_t number) const {
  const UnitTable::Unit& unit = table().unit(number);
  UnitLayout laid = layout(unit);
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
  const UnitCodec& codec = table().codec(schema);
  const UnitLayout laid = layout(unit);
  HR_TRY(check_unit(table().group(unit), laid.reads, buffer));
  std::vector<ArrowTable> tables;
  for (const UnitPart& part : laid.parts) {
    const Bytes file = codec.small_file(table().group(unit), laid, part, unit.row_begin, unit.row_end, buffer);
    HR_TRY_ASSIGN(ArrowTable decoded, codec.is_arrow() ? decoder_->decode_stream(file, top_columns(codec, part))
                                                       : decoder_->decode_parquet(file));
    tables.push_back(std::move(decoded));
  }
  std::vector<UnitColumn> columns;
  for (size_t k = 0; k < fields_.size(); ++k) {
    UnitColumn column{table().fields()[fields_[k]], -1, 0};
    if (column.field.leaves == 0) {
      column.field = partition_value(std::move(column.field), index_->shards()[unit.file].key);
    }
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

std::string TableSource::smaller_units_hint() const { return table().codec(0).smaller_units_hint(); }

}  // namespace headrace
