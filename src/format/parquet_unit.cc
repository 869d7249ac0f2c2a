// SPDX-License-Identifier: Apache-2.0
#include "format/parquet_unit.h"

#include <algorithm>
#include <cstring>

#include "base/endian.h"

namespace headrace {
namespace {

constexpr std::string_view kMagic = "PAR1";
constexpr uint64_t kReadBytesMax = 8 << 20;  // runs that are joined stay below it, as add_reads() has it
// The Thrift of a footer, at most: its own fields, an element of the schema beside its texts, a chunk beside its path.
constexpr uint64_t kFooterBytes = 128, kElementBytes = 64, kChunkBytes = 160;

// What is read of a leaf for the rows of the unit. A field of several leaves (nested) is decoded whole: pages of its
// leaves do not begin at the same rows.
UnitPages pages_of(const UnitGroup& group, const UnitField& field, uint32_t leaf, uint64_t begin, uint64_t end) {
  const UnitChunk& chunk = group.chunks[leaf];
  if (field.leaves > 1) return {{0, chunk.data_bytes}, 0, group.rows};
  return pages_of_rows(group, chunk, begin, end);
}

struct Wanted {
  ByteRange range;
  uint32_t leaf;
};

// The ranges of the object for the wanted leaves, ascending.
std::vector<Wanted> wanted_ranges(const ParquetSchema& schema, const UnitGroup& group,
                                  const std::vector<uint32_t>& fields, uint64_t begin, uint64_t end) {
  std::vector<Wanted> ranges;
  for (uint32_t f : fields) {
    const UnitField& field = schema.fields()[f];
    for (uint32_t leaf = field.leaf; leaf < field.leaf + field.leaves; ++leaf) {
      const UnitChunk& chunk = group.chunks[leaf];
      const UnitPages pages = pages_of(group, field, leaf, begin, end);
      const uint64_t data = chunk.begin + chunk.dict_bytes;
      if (chunk.dict_bytes > 0) ranges.push_back({{chunk.begin, data}, leaf});
      if (!pages.data.empty()) ranges.push_back({{data + pages.data.begin, data + pages.data.end}, leaf});
    }
  }
  std::ranges::sort(ranges, {}, [](const Wanted& w) { return w.range.begin; });
  return ranges;
}

// Lays the ranges into the buffer one after another and makes reads of them. A dictionary and the pages behind it have
// to lie side by side in the buffer, so that bytes that nobody wants are only read between two columns. Returns where
// the last one ends.
uint64_t lay_out(const std::vector<Wanted>& wanted, uint64_t at, uint64_t gap_bytes_max, std::vector<UnitRead>& reads) {
  uint32_t last_leaf = 0;
  for (const auto& [range, leaf] : wanted) {
    ByteRange add = range;
    if (!reads.empty()) {
      ByteRange& last = reads.back().range;
      add.begin = std::max(add.begin, last.end);  // columns that overlap are somebody's mischief: read once
      if (add.begin >= add.end) continue;
      const uint64_t gap = add.begin - last.end;
      const bool near = gap == 0 || (leaf != last_leaf && gap <= gap_bytes_max);
      if (near && add.end - last.begin <= kReadBytesMax) {
        at += add.end - last.end;
        last.end = add.end;
        last_leaf = leaf;
        continue;
      }
    }
    last_leaf = leaf;
    at = add_reads(add, at, reads);
  }
  return at;
}

uint64_t footer_room(const ParquetSchema& schema, const std::vector<uint32_t>& fields) {
  uint64_t bytes = kFooterBytes;
  for (uint32_t f : fields) {
    const UnitField& field = schema.fields()[f];
    for (uint32_t leaf = field.leaf; leaf < field.leaf + field.leaves; ++leaf) {
      bytes += kChunkBytes;
      for (const std::string& name : schema.leaf_path(leaf)) bytes += 2 * (name.size() + 16);
    }
  }
  return bytes;
}

uint64_t place_of(const UnitLayout& unit, uint64_t offset) {
  const auto begin_of = [](const UnitRead& read) { return read.range.begin; };
  const auto behind = std::ranges::upper_bound(unit.reads, offset, {}, begin_of);
  HR_ASSERT(behind != unit.reads.begin());
  const UnitRead& read = *std::prev(behind);
  return read.at + (offset - read.range.begin);
}

}  // namespace

UnitLayout parquet_unit(const ParquetSchema& schema, const UnitGroup& group, uint64_t row_begin, uint64_t row_end,
                         const std::vector<uint32_t>& fields, uint64_t gap_bytes_max) {
  UnitLayout unit;
  const uint64_t at = lay_out(wanted_ranges(schema, group, fields, row_begin, row_end), kMagic.size(), gap_bytes_max,
                              unit.reads);
  unit.read_bytes = at - kMagic.size();
  unit.buffer_bytes = at + footer_room(schema, fields) + kElementBytes * schema.leaves() + 16;
  for (uint32_t f : fields) {
    const UnitField& field = schema.fields()[f];
    const UnitPages pages = pages_of(group, field, field.leaf, row_begin, row_end);
    const uint64_t rows = pages.row_end - pages.row_begin, skip = row_begin - pages.row_begin;
    const auto is_same = [&](const UnitPart& part) { return part.rows == rows && part.skip == skip; };
    const auto same = std::ranges::find_if(unit.parts, is_same);
    if (same != unit.parts.end()) same->fields.push_back(f);
    else unit.parts.push_back({{f}, rows, skip});
  }
  return unit;
}

namespace {

// One ColumnChunk of the small file.
void write_chunk(thrift::Writer& out, const ParquetSchema& schema, const UnitChunk& chunk, uint32_t leaf,
                 ByteRange pages, const UnitLayout& unit) {
  using namespace thrift;
  const uint64_t data_at = place_of(unit, chunk.begin + chunk.dict_bytes + pages.begin);
  const uint64_t dict_at = chunk.dict_bytes > 0 ? place_of(unit, chunk.begin) : 0;
  out.begin_struct();
  out.integer(2, kI64, static_cast<int64_t>(data_at));
  out.structure(3);
  out.begin_struct();
  out.integer(1, kI32, *schema.leaf(leaf).type);
  out.list(2, kI32, 1);  // encodings: the pages tell
  out.list_integer(0);
  const std::vector<std::string> path = schema.leaf_path(leaf);
  out.list(3, kBinary, path.size());
  for (const std::string& name : path) out.list_binary(name);
  out.integer(4, kI32, chunk.codec);
  out.integer(5, kI64, static_cast<int64_t>(chunk.values));  // of the whole chunk: the reader ends with the bytes
  out.integer(6, kI64, static_cast<int64_t>(chunk.decoded_bytes));
  const uint64_t begin = dict_at > 0 ? dict_at : data_at;
  out.integer(7, kI64, static_cast<int64_t>(data_at + pages.size() - begin));
  out.integer(9, kI64, static_cast<int64_t>(data_at));
  if (dict_at > 0) out.integer(11, kI64, static_cast<int64_t>(dict_at));
  out.end_struct();
  out.end_struct();
}

std::string small_footer(const ParquetSchema& schema, const UnitGroup& group, const UnitLayout& unit,
                         const UnitPart& part, uint64_t row_begin, uint64_t row_end) {
  using namespace thrift;
  std::vector<std::pair<uint32_t, const UnitField*>> leaves;
  std::vector<uint32_t> numbers;
  for (uint32_t f : part.fields) {
    const UnitField& field = schema.fields()[f];
    for (uint32_t leaf = field.leaf; leaf < field.leaf + field.leaves; ++leaf) {
      leaves.emplace_back(leaf, &field);
      numbers.push_back(leaf);
    }
  }
  Writer out;
  out.begin_struct();
  out.integer(1, kI32, 2);
  schema.write(out, 2, numbers);
  out.integer(3, kI64, static_cast<int64_t>(part.rows));
  out.list(4, kStruct, 1);
  out.begin_struct();
  out.list(1, kStruct, leaves.size());
  for (const auto& [leaf, field] : leaves) {
    const UnitPages pages = pages_of(group, *field, leaf, row_begin, row_end);
    write_chunk(out, schema, group.chunks[leaf], leaf, pages.data, unit);
  }
  out.integer(2, kI64, static_cast<int64_t>(unit.read_bytes));
  out.integer(3, kI64, static_cast<int64_t>(part.rows));
  out.end_struct();
  out.end_struct();
  return out.text();
}

}  // namespace

Bytes write_small_file(const ParquetSchema& schema, const UnitGroup& group, const UnitLayout& unit,
                       const UnitPart& part, uint64_t row_begin, uint64_t row_end, MutableBytes buffer) {
  const std::string footer = small_footer(schema, group, unit, part, row_begin, row_end);
  const uint64_t at = kMagic.size() + unit.read_bytes;
  HR_ASSERT(at + footer.size() + 8 <= buffer.size());
  std::memcpy(buffer.data(), kMagic.data(), kMagic.size());
  std::memcpy(buffer.data() + at, footer.data(), footer.size());
  store_le(buffer.data() + at + footer.size(), static_cast<uint32_t>(footer.size()));
  std::memcpy(buffer.data() + at + footer.size() + 4, kMagic.data(), kMagic.size());
  return buffer.first(at + footer.size() + 8);
}

namespace {

// Beside its bytes a value of text or a list has an offset, and every value may have a bit.
constexpr uint64_t kValueBytes = 5;

class ParquetCodec final : public UnitCodec {
 public:
  explicit ParquetCodec(ParquetSchema schema) : schema_(std::move(schema)) {}
  const std::vector<UnitField>& fields() const override { return schema_.fields(); }
  UnitLayout lay_out(const UnitGroup& group, uint64_t row_begin, uint64_t row_end, const std::vector<uint32_t>& wanted,
                     uint64_t gap_bytes_max) const override {
    return parquet_unit(schema_, group, row_begin, row_end, wanted, gap_bytes_max);
  }
  // The wanted columns' pages uncompressed, and what decoding adds.
  uint64_t decoded_bytes(const UnitGroup& group, uint64_t row_begin, uint64_t row_end,
                         const std::vector<uint32_t>& wanted) const override {
    uint64_t bytes = 0;
    for (uint32_t f : wanted) {
      const UnitField& field = schema_.fields()[f];
      for (uint32_t leaf = field.leaf; leaf < field.leaf + field.leaves; ++leaf) {
        const UnitChunk& chunk = group.chunks[leaf];
        const UnitPages pages = pages_of(group, field, leaf, row_begin, row_end);
        const double share = static_cast<double>(pages.row_end - pages.row_begin) / static_cast<double>(group.rows);
        const auto all = static_cast<double>(chunk.decoded_bytes + chunk.values * kValueBytes);
        bytes += static_cast<uint64_t>(share * all);
      }
    }
    return bytes;
  }
  Bytes small_file(const UnitGroup& group, const UnitLayout& layout, const UnitPart& part, uint64_t row_begin,
                   uint64_t row_end, MutableBytes buffer) const override {
    return write_small_file(schema_, group, layout, part, row_begin, row_end, buffer);
  }
  bool is_arrow() const override { return false; }
  std::string smaller_units_hint() const override {
    return "write the Parquet files with smaller row groups (row_group_size=) or with a page index "
           "(write_page_index=True)";
  }

 private:
  const ParquetSchema schema_;
};

}  // namespace

Result<std::shared_ptr<const UnitCodec>> make_parquet_codec(const std::string& encoded) {
  HR_TRY_ASSIGN(ParquetSchema schema, ParquetSchema::decode(as_bytes(encoded)));
  return std::shared_ptr<const UnitCodec>(std::make_shared<ParquetCodec>(std::move(schema)));
}

}  // namespace headrace
