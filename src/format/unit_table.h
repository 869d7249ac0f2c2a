// SPDX-License-Identifier: Apache-2.0
//
// UnitTable: where the samples of a data set lie whose bytes can only be decoded in units (Parquet row groups or runs
// of their pages): files hold groups of rows, a group holds one chunk a leaf column, a chunk perhaps a dictionary and
// then pages. Units are what the order deals with and what is read and decoded at once; how a group is cut into them is
// kept here, since sample numbers and states depend on it. Part of the sidecar index (docs/formats/index.md).
//
// Bytes in, values out. What is in the chunks is parquet_unit.h's business.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/result.h"
#include "format/unit_codec.h"
#include "format/unit_field.h"

namespace headrace {

inline constexpr uint64_t kUnitRowsMax = (uint64_t{1} << 32) - 1;
inline constexpr uint64_t kUnitFilesMax = uint64_t{1} << 24;
inline constexpr uint64_t kUnitGroupsMax = uint64_t{1} << 24;  // of a file
inline constexpr uint64_t kUnitTableBytesMax = uint64_t{1} << 30;

// Pages from one on, up to the next: place in the chunk's data and first row in the group.
struct UnitPage {
  uint64_t begin = 0;
  uint64_t row = 0;
  friend bool operator==(const UnitPage&, const UnitPage&) = default;
};

struct UnitChunk {
  uint64_t begin = 0;          // in the object
  uint64_t dict_bytes = 0;     // dictionary page, before the data
  uint64_t data_bytes = 0;
  uint64_t decoded_bytes = 0;  // as the file says: all pages uncompressed
  uint64_t values = 0;
  int32_t codec = 0;
  std::vector<UnitPage> pages;  // the first begins at 0 and row 0; empty: not known
  std::vector<uint32_t> crcs;   // of the runs that unit_checks.h names; empty: not known

  uint64_t end() const { return begin + dict_bytes + data_bytes; }
  friend bool operator==(const UnitChunk&, const UnitChunk&) = default;
};

struct UnitGroup {
  uint64_t rows = 0;
  std::vector<UnitChunk> chunks;  // one a leaf
  std::vector<uint64_t> cuts;     // first row of each unit, the first is 0; empty when there are no rows
  friend bool operator==(const UnitGroup&, const UnitGroup&) = default;
};

// One object.
struct UnitFile {
  std::string schema;  // encoded (ParquetSchema::encode)
  std::vector<UnitGroup> groups;

  uint64_t rows() const;
  friend bool operator==(const UnitFile&, const UnitFile&) = default;
};

// Where the group's units begin: runs of pages where all columns' pages are known and little is read twice, else the
// whole group. Pure; what it gives is kept, so it may change.
std::vector<uint64_t> cut_units(const UnitGroup& group);
// What a unit of rows [begin, end) of the group reads of one chunk: its pages from the first to the last one needed.
// `data` is relative to the chunk's data. All of them where pages are not known.
struct UnitPages {
  ByteRange data;
  uint64_t row_begin = 0, row_end = 0;
};
UnitPages pages_of_rows(const UnitGroup& group, const UnitChunk& chunk, uint64_t row_begin, uint64_t row_end);

class UnitTable {
 public:
  // Errors: kUnsupported where a file's columns are not those of the first (docs/formats/parquet.md), naming both;
  // kCorrupt for numbers that contradict each other. `keys` and `sizes` of the objects.
  static Result<std::shared_ptr<const UnitTable>> make(std::vector<UnitFile> files,
                                                       const std::vector<std::string>& keys);
  static Result<std::shared_ptr<const UnitTable>> decode(Bytes encoded, const std::vector<std::string>& keys,
                                                         const std::vector<uint64_t>& sizes);
  std::string encode() const;

  struct Unit {
    uint32_t file = 0;
    uint32_t group = 0;
    uint64_t row_begin = 0, row_end = 0;  // in the group
    uint64_t rows() const { return row_end - row_begin; }
  };
  uint64_t units() const { return units_.size(); }
  const Unit& unit(uint64_t i) const { return units_[i]; }
  const UnitFile& file(uint64_t i) const { return files_[i]; }
  uint64_t files() const { return files_.size(); }
  const UnitGroup& group(const Unit& unit) const { return files_[unit.file].groups[unit.group]; }
  std::vector<uint64_t> counts() const;  // samples of each unit

  // Every chunk has its checksums: what is read of any unit can be checked.
  bool has_crc() const { return has_crc_; }

  // {"name": "type", ...} of the fields, for people.
  std::string schema_json() const;
  // The data set's fields: those of its first file.
  const std::vector<UnitField>& fields() const { return fields_; }
  // The field of a file, by its place in fields(); nullptr where the file does not have it (its values are null).
  const UnitField* file_field(uint64_t file, size_t field) const;

  // Stored bytes of all groups; the same by their pages uncompressed.
  uint64_t stored_bytes() const { return stored_bytes_; }
  // The object's bytes that hold a unit's group.
  ByteRange group_range(const Unit& unit) const;
  Hash128 cut_hash() const;  // of counts(): part of the order hash

 private:
  Status link(const std::vector<std::string>& keys);
  Status link_fields(uint64_t file, const std::vector<std::string>& keys);

  std::vector<UnitFile> files_;  // schema is emptied: see schema_of_
  std::vector<std::string> schemas_;
  std::vector<uint32_t> schema_of_;  // of each file
  std::vector<std::vector<UnitField>> schema_fields_;
  std::vector<std::shared_ptr<const UnitCodec>> codecs_;  // of each schema
  std::vector<std::vector<int32_t>> field_at_;  // [schema][field]: place in schema_fields_, or -1
  std::vector<UnitField> fields_;
  std::vector<Unit> units_;
  uint64_t stored_bytes_ = 0;
  bool has_crc_ = false;

 public:
  const std::string& schema(uint64_t file) const { return schemas_[schema_of_[file]]; }
  uint32_t schema_number(uint64_t file) const { return schema_of_[file]; }
  size_t schemas() const { return schemas_.size(); }
  const UnitCodec& codec(uint32_t schema) const { return *codecs_[schema]; }
};

}  // namespace headrace
