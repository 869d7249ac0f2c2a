// SPDX-License-Identifier: Apache-2.0
#include "format/parquet.h"

#include <algorithm>

#include "base/checked.h"
#include "format/parquet_metadata.h"
#include "format/parquet_schema.h"

namespace headrace {
namespace {

using thrift::Field;
using thrift::Reader;

constexpr int32_t kCodecMax = 7;  // LZ4_RAW

Status bad(const std::string& cause) { return corrupt("read Parquet footer: " + cause); }
std::string number(int64_t n) { return std::to_string(n); }

// A ColumnChunk as it stands.
struct RawChunk {
  bool has_meta = false, encrypted = false, elsewhere = false;
  int64_t codec = 0, values = 0, decoded = 0, stored = 0, data_at = 0, dict_at = 0;
  int64_t index_at = 0, index_bytes = 0;
};

void read_meta(Reader& in, RawChunk& chunk) {
  Field f;
  chunk.has_meta = true;
  for (in.begin(f); in.next(f);) {
    switch (f.id) {
      case 4: chunk.codec = in.integer(f); break;
      case 5: chunk.values = in.integer(f); break;
      case 6: chunk.decoded = in.integer(f); break;
      case 7: chunk.stored = in.integer(f); break;
      case 9: chunk.data_at = in.integer(f); break;
      case 11: chunk.dict_at = in.integer(f); break;
      default: in.skip(f);
    }
  }
}

RawChunk read_chunk(Reader& in) {
  RawChunk chunk;
  Field f;
  for (in.begin(f); in.next(f);) {
    switch (f.id) {
      case 1: chunk.elsewhere = !in.binary(f).empty(); break;
      case 3:
        if (in.enter(f)) read_meta(in, chunk);
        break;
      case 4: chunk.index_at = in.integer(f); break;
      case 5: chunk.index_bytes = in.integer(f); break;
      case 8:
      case 9:
        chunk.encrypted = true;
        in.skip(f);
        break;
      default: in.skip(f);
    }
  }
  return chunk;
}

Status check_chunk(const RawChunk& raw, uint64_t footer_begin, UnitChunk& chunk, ByteRange& index) {
  if (raw.encrypted) return unsupported("read Parquet footer: encrypted columns are not read");
  if (raw.elsewhere) return unsupported("read Parquet footer: column chunks in other files are not read");
  if (!raw.has_meta) return bad("a column chunk without metadata");
  const int64_t begin = raw.dict_at > 0 && raw.dict_at < raw.data_at ? raw.dict_at : raw.data_at;
  if (raw.codec < 0 || raw.codec > kCodecMax) return bad("codec " + number(raw.codec));
  const auto end = checked_add(static_cast<uint64_t>(begin), static_cast<uint64_t>(raw.stored));
  if (begin < 4 || raw.stored < 0 || raw.decoded < 0 || raw.values < 0 || !end || *end > footer_begin ||
      raw.data_at > static_cast<int64_t>(*end)) {
    return bad("a column chunk of " + number(raw.stored) + " bytes at " + number(begin) +
               " does not lie before the footer at " + std::to_string(footer_begin));
  }
  chunk.begin = static_cast<uint64_t>(begin);
  chunk.dict_bytes = static_cast<uint64_t>(raw.data_at - begin);
  chunk.data_bytes = static_cast<uint64_t>(raw.stored) - chunk.dict_bytes;
  chunk.decoded_bytes = static_cast<uint64_t>(raw.decoded);
  chunk.values = static_cast<uint64_t>(raw.values);
  chunk.codec = static_cast<int32_t>(raw.codec);
  const auto index_end = checked_add(static_cast<uint64_t>(raw.index_at), static_cast<uint64_t>(raw.index_bytes));
  index = {};
  if (raw.index_at > 0 && raw.index_bytes > 0 && index_end && *index_end <= footer_begin) {
    index = {static_cast<uint64_t>(raw.index_at), *index_end};
  }
  return {};
}

Status read_group(Reader& in, uint64_t footer_begin, size_t leaves, ParquetFooter& out) {
  UnitGroup group;
  Field f;
  int64_t rows = -1;
  for (in.begin(f); in.next(f);) {
    if (f.id == 1) {
      const uint32_t n = in.list(f, thrift::kStruct);
      if (n != leaves) return bad(number(n) + " chunks in a row group, the schema has " + std::to_string(leaves));
      for (uint32_t i = 0; i < n && !in.failed(); ++i) {
        const RawChunk raw = read_chunk(in);
        if (in.failed()) break;
        group.chunks.emplace_back();
        out.offset_indexes.emplace_back();
        HR_TRY(check_chunk(raw, footer_begin, group.chunks.back(), out.offset_indexes.back()));
      }
    } else if (f.id == 3) {
      rows = in.integer(f);
    } else {
      in.skip(f);
    }
  }
  if (in.failed() || group.chunks.size() != leaves) return bad("a row group ends early");
  if (rows < 0 || rows > static_cast<int64_t>(kUnitRowsMax)) return bad("a row group of " + number(rows) + " rows");
  for (const UnitChunk& chunk : group.chunks) {
    if (rows > 0 && chunk.data_bytes == 0) return bad("a column chunk without pages in a row group with rows");
  }
  group.rows = static_cast<uint64_t>(rows);
  out.file.groups.push_back(std::move(group));
  return {};
}

// Of the key-value metadata: how long lists always are.
void read_metadata(Reader& in, const Field& field, ParquetSchema& schema) {
  const uint32_t n = in.list(field, thrift::kStruct);
  for (uint32_t i = 0; i < n && !in.failed(); ++i) {
    Field f;
    std::string_view key, value;
    for (in.begin(f); in.next(f);) {
      if (f.id == 1) key = in.binary(f);
      else if (f.id == 2) value = in.binary(f);
      else in.skip(f);
    }
    if (key == kArrowSchemaKey) schema.set_fixed_lists(fixed_lists_of(value));
  }
}

}  // namespace

// The schema stands before the row groups in every writer's footer: Thrift writes fields by number.
Result<ParquetFooter> parse_parquet_footer(Bytes footer, uint64_t footer_begin) {
  ParquetFooter out;
  Reader in(footer);
  Field f;
  int64_t rows = -1;
  size_t leaves = 0;
  ParquetSchema schema;
  for (in.begin(f); in.next(f);) {
    if (f.id == 2) {
      HR_TRY_ASSIGN(schema, ParquetSchema::parse(in, f));
      leaves = schema.leaves();
    } else if (f.id == 3) {
      rows = in.integer(f);
    } else if (f.id == 4) {
      if (leaves == 0) return bad("row groups before the schema");
      const uint32_t n = in.list(f, thrift::kStruct);
      for (uint32_t i = 0; i < n && !in.failed(); ++i) HR_TRY(read_group(in, footer_begin, leaves, out));
    } else if (f.id == 5) {
      read_metadata(in, f, schema);
    } else if (f.id == 8) {
      return unsupported("read Parquet footer: encrypted files are not read");
    } else {
      in.skip(f);
    }
  }
  if (in.failed()) return bad("it ends early or is not Thrift");
  if (leaves == 0) return bad("no schema");
  out.file.schema = schema.encode();
  if (rows < 0 || static_cast<uint64_t>(rows) != out.file.rows()) {
    return bad("it says " + number(rows) + " rows, its row groups have " + std::to_string(out.file.rows()));
  }
  return out;
}

Status parse_offset_index(Bytes index, uint64_t rows, UnitChunk& chunk) {
  Reader in(index);
  Field f;
  std::vector<UnitPage> pages;
  uint64_t begin = 0, at = 0;  // of the first page, and behind the last one seen
  bool in_order = true;
  for (in.begin(f); in.next(f);) {
    const uint32_t n = f.id == 1 ? in.list(f, thrift::kStruct) : 0;
    if (f.id != 1) in.skip(f);
    for (uint32_t i = 0; i < n && !in.failed(); ++i) {
      Field p;
      int64_t offset = -1, size = -1, row = -1;
      for (in.begin(p); in.next(p);) {
        if (p.id == 1) offset = in.integer(p);
        else if (p.id == 2) size = in.integer(p);
        else if (p.id == 3) row = in.integer(p);
        else in.skip(p);
      }
      const bool sound = offset >= 0 && size > 0 && row >= 0 && static_cast<uint64_t>(row) < rows;
      if (in.failed() || !sound) return bad("page " + std::to_string(i) + " of an offset index");
      if (i == 0) begin = at = static_cast<uint64_t>(offset);
      const bool rises = i == 0 ? row == 0 : static_cast<uint64_t>(row) > pages.back().row;
      in_order = in_order && rises && static_cast<uint64_t>(offset) == at;
      pages.push_back({static_cast<uint64_t>(offset) - begin, static_cast<uint64_t>(row)});
      at = static_cast<uint64_t>(offset) + static_cast<uint64_t>(size);
    }
  }
  if (in.failed()) return bad("an offset index ends early");
  if (pages.empty() || !in_order || begin < chunk.begin || at != chunk.end()) return {};
  // What stands before the first data page is the dictionary, whatever the footer says.
  chunk.data_bytes = chunk.end() - begin;
  chunk.dict_bytes = begin - chunk.begin;
  chunk.pages = std::move(pages);
  return {};
}

}  // namespace headrace
