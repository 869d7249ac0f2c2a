// SPDX-License-Identifier: Apache-2.0
//
// UnitTable as bytes: LEB128 numbers in the order below, docs/formats/index.md ("Units"). What comes back is checked
// number by number: it may be anyone's.
#include "format/unit_table.h"

#include <nlohmann/json.hpp>

#include "base/checked.h"
#include "base/endian.h"
#include "format/unit_checks.h"

namespace headrace {
namespace {

Status bad(const std::string& cause) {
  return corrupt("read index: units: " + cause + "; delete the index file and build it again");
}

void put(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

class Numbers {
 public:
  explicit Numbers(Bytes bytes) : rest_(bytes) {}
  uint64_t take() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<uint64_t>(rest_[0]);
      rest_ = rest_.subspan(1);
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    failed_ = true;
    return 0;
  }
  // A count of things of at least `bytes_each` bytes that follow.
  uint64_t take_count(uint64_t bytes_each) {
    const uint64_t n = take();
    if (n > rest_.size() / bytes_each) failed_ = true;
    return failed_ ? 0 : n;
  }
  std::string take_text() {
    const uint64_t n = take_count(1);
    const std::string text(as_text(rest_.first(n)));
    rest_ = rest_.subspan(n);
    return text;
  }
  uint32_t take_fixed() {
    if (rest_.size() < sizeof(uint32_t)) failed_ = true;
    if (failed_) return 0;
    const uint32_t value = load_le<uint32_t>(rest_.data());
    rest_ = rest_.subspan(sizeof value);
    return value;
  }
  // At least so many bytes follow.
  bool has(uint64_t bytes) const { return !failed_ && bytes <= rest_.size(); }
  bool failed() const { return failed_; }
  bool at_end() const { return rest_.empty(); }

 private:
  Bytes rest_;
  bool failed_ = false;
};

void put_chunk(std::string& out, const UnitChunk& chunk) {
  for (uint64_t n : {chunk.begin, chunk.dict_bytes, chunk.data_bytes, chunk.decoded_bytes, chunk.values,
                     static_cast<uint64_t>(static_cast<uint32_t>(chunk.codec)), uint64_t{chunk.pages.size()}}) {
    put(out, n);
  }
  for (size_t i = 1; i < chunk.pages.size(); ++i) {
    put(out, chunk.pages[i].begin - chunk.pages[i - 1].begin);
    put(out, chunk.pages[i].row - chunk.pages[i - 1].row);
  }
}

void put_crcs(std::string& out, const UnitChunk& chunk) {
  for (uint32_t crc : chunk.crcs) {
    char raw[sizeof crc];
    store_le(raw, crc);
    out.append(raw, sizeof raw);
  }
}

void put_group(std::string& out, const UnitGroup& group) {
  put(out, group.rows);
  put(out, group.chunks.size());
  for (const UnitChunk& chunk : group.chunks) put_chunk(out, chunk);
  put(out, group.cuts.size());
  for (size_t i = 1; i < group.cuts.size(); ++i) put(out, group.cuts[i] - group.cuts[i - 1]);
}

Status take_chunk(Numbers& in, uint64_t size, uint64_t rows, UnitChunk& chunk) {
  chunk.begin = in.take();
  chunk.dict_bytes = in.take();
  chunk.data_bytes = in.take();
  chunk.decoded_bytes = in.take();
  chunk.values = in.take();
  chunk.codec = static_cast<int32_t>(static_cast<uint32_t>(in.take()));
  const uint64_t pages = in.take();
  if (pages > 0 && !in.has((pages - 1) * 2)) return bad("pages of a column chunk");
  const auto head = checked_add(chunk.begin, chunk.dict_bytes);
  const auto end = head ? checked_add(*head, chunk.data_bytes) : std::nullopt;
  const bool inside = end && *end <= size && (rows == 0 || chunk.data_bytes > 0);
  if (in.failed() || !inside) return bad("a column chunk outside its object");
  for (uint64_t i = 0; i < pages; ++i) {
    UnitPage page;
    if (i > 0) page = {chunk.pages.back().begin + in.take(), chunk.pages.back().row + in.take()};
    const bool rises = i == 0 || (page.begin > chunk.pages.back().begin && page.row > chunk.pages.back().row);
    if (in.failed() || !rises || page.begin >= chunk.data_bytes || page.row >= rows) return bad("pages");
    chunk.pages.push_back(page);
  }
  return {};
}

void take_crcs(Numbers& in, UnitFile& file) {
  for (UnitGroup& group : file.groups) {
    for (UnitChunk& chunk : group.chunks) {
      for (size_t i = 0; i < unit_runs(chunk) && !in.failed(); ++i) chunk.crcs.push_back(in.take_fixed());
    }
  }
}

Status take_group(Numbers& in, uint64_t size, UnitGroup& group) {
  group.rows = in.take();
  const uint64_t chunks = in.take_count(7);
  if (in.failed() || group.rows > kUnitRowsMax) return bad("a group of " + std::to_string(group.rows) + " rows");
  group.chunks.resize(chunks);
  for (UnitChunk& chunk : group.chunks) HR_TRY(take_chunk(in, size, group.rows, chunk));
  const uint64_t cuts = in.take();
  if (in.failed() || (cuts == 0) != (group.rows == 0) || cuts > group.rows) return bad("cuts of a group");
  for (uint64_t i = 0; i < cuts && !in.failed(); ++i) {
    group.cuts.push_back(i == 0 ? 0 : group.cuts.back() + in.take());
    if (i > 0 && (group.cuts[i] <= group.cuts[i - 1] || group.cuts[i] >= group.rows)) return bad("cuts of a group");
  }
  return in.failed() ? bad("they end early") : Status();
}

}  // namespace

std::string UnitTable::schema_json() const {
  nlohmann::ordered_json out = nlohmann::ordered_json::object();
  for (const UnitField& field : fields_) out[field.name] = field.type;
  return out.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string UnitTable::encode() const {
  std::string out;
  put(out, schemas_.size());
  for (const std::string& schema : schemas_) {
    put(out, schema.size());
    out += schema;
  }
  put(out, files_.size());
  for (uint64_t f = 0; f < files_.size(); ++f) {
    put(out, schema_of_[f]);
    put(out, files_[f].groups.size());
    for (const UnitGroup& group : files_[f].groups) put_group(out, group);
  }
  if (!has_crc_) return out;
  for (const UnitFile& file : files_) {
    for (const UnitGroup& group : file.groups) {
      for (const UnitChunk& chunk : group.chunks) put_crcs(out, chunk);
    }
  }
  return out;
}

Result<std::shared_ptr<const UnitTable>> UnitTable::decode(Bytes encoded, const std::vector<std::string>& keys,
                                                           const std::vector<uint64_t>& sizes) {
  Numbers in(encoded);
  std::vector<std::string> schemas(in.take_count(1));
  for (std::string& schema : schemas) schema = in.take_text();
  const uint64_t n = in.take_count(2);
  if (in.failed() || n != sizes.size() || n > kUnitFilesMax) return bad("number of files " + std::to_string(n));
  std::vector<UnitFile> files(n);
  for (uint64_t f = 0; f < n; ++f) {
    const uint64_t schema = in.take();
    const uint64_t groups = in.take_count(3);
    if (in.failed() || schema >= schemas.size()) return bad("schema or groups of file " + std::to_string(f));
    files[f].schema = schemas[schema];
    files[f].groups.resize(groups);
    for (UnitGroup& group : files[f].groups) HR_TRY(take_group(in, sizes[f], group));
  }
  if (!in.failed() && !in.at_end()) {
    for (UnitFile& file : files) take_crcs(in, file);
  }
  if (in.failed() || !in.at_end()) return bad("they do not end where the table ends");
  return make(std::move(files), keys);
}

}  // namespace headrace
