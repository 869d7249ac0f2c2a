// SPDX-License-Identifier: Apache-2.0
//
// Reading the sidecar index. The file may come from anyone who can write to the bucket: every
// number is checked against what is there before it is used, and the hashes of the contents against
// those in the head.
#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "format/index_file.h"
#include "format/index_layout.h"
#include "format/unit_table.h"

namespace headrace {

// The only one who sees DatasetIndex from inside besides its builder.
class IndexFileAccess {
 public:
  static DatasetIndex empty() { return {}; }
  static Result<std::shared_ptr<const DatasetIndex>> build(const IndexHead& head,
                                                           DatasetIndex index);
  static auto& format(DatasetIndex& i) { return i.format_; }
  static auto& stride(DatasetIndex& i) { return i.stride_; }
  static auto& shards(DatasetIndex& i) { return i.shards_; }
  static auto& fields(DatasetIndex& i) { return i.fields_; }
  static auto& schema_json(DatasetIndex& i) { return i.schema_json_; }
  static auto& borders(DatasetIndex& i) { return i.borders_; }
  static auto& crcs(DatasetIndex& i) { return i.crcs_; }
  static auto& units(DatasetIndex& i) { return i.units_; }
  static void count_up(DatasetIndex& i) { i.count_up(); }
};

namespace {

using namespace index_layout;  // NOLINT: this file is the layout

std::string number(uint64_t n) { return std::to_string(n); }
Status bad(const std::string& cause) {
  return corrupt("read index: " + cause + "; delete the index file and build it again");
}

// Reads values off the front; once something did not fit it stays failed and gives zeros.
class Reader {
 public:
  explicit Reader(Bytes bytes) : rest_(bytes) {}

  bool failed() const { return failed_; }
  bool at_end() const { return rest_.empty(); }
  uint64_t left() const { return rest_.size(); }
  template <class T>
  T take() {
    const Bytes raw = take_bytes(sizeof(T));
    return failed_ ? T{} : load_le<T>(raw.data());
  }
  Bytes take_bytes(uint64_t n) {
    failed_ = failed_ || n > rest_.size();
    if (failed_) return {};
    const Bytes taken = rest_.first(n);
    rest_ = rest_.subspan(n);
    return taken;
  }
  std::string take_text(uint64_t bytes_max) {
    const uint32_t size = take<uint32_t>();
    failed_ = failed_ || size > bytes_max;
    return std::string(as_text(take_bytes(failed_ ? 0 : size)));
  }
  Hash128 take_hash() {
    Hash128 hash;
    const Bytes raw = take_bytes(hash.bytes.size());
    if (!failed_) std::memcpy(hash.bytes.data(), raw.data(), raw.size());
    return hash;
  }

 private:
  Bytes rest_;
  bool failed_ = false;
};

Status read_shards(Reader& in, std::vector<ShardEntry>& shards, std::vector<uint64_t>& begins) {
  const auto n = in.take<uint64_t>();
  constexpr uint64_t kShardBytesMin = 3 * 8 + 4 * 4;
  if (n > kShardsMax || n > in.left() / kShardBytesMin) return bad("number of shards " + number(n));
  shards.reserve(n);
  for (uint64_t s = 0; s < n; ++s) {
    ShardEntry shard;
    shard.size = in.take<uint64_t>();
    shard.samples = in.take<uint64_t>();
    begins.push_back(in.take<uint64_t>());
    shard.key = in.take_text(kTextBytesMax);
    shard.etag = in.take_text(kTextBytesMax);
    shard.version_id = in.take_text(kTextBytesMax);
    shard.checksum = in.take_text(kTextBytesMax);
    if (in.failed()) return bad("the table of shards ends early, at shard " + number(s));
    if (shard.samples > kShardSamplesMax || begins.back() > shard.size) {
      return bad("numbers of shard " + number(s));
    }
    shards.push_back(std::move(shard));
  }
  return {};
}

Status read_fields(Reader& in, std::vector<FieldEntry>& fields) {
  const auto n = in.take<uint32_t>();
  if (n > kFieldsMax) return bad("number of fields " + number(n));
  for (uint32_t f = 0; f < n; ++f) {
    FieldEntry field;
    field.samples = in.take<uint64_t>();
    field.name = in.take_text(kTextBytesMax);
    if (in.failed()) return bad("the table of fields ends early");
    fields.push_back(std::move(field));
  }
  return {};
}

Status read_units(Reader& in, DatasetIndex& index) {
  const auto size = in.take<uint64_t>();
  if (in.failed() || size > kUnitTableBytesMax) return bad("a table of units of " + number(size) + " bytes");
  const Bytes encoded = in.take_bytes(size);
  if (in.failed()) return bad("the table of units ends early");
  std::vector<std::string> keys;
  std::vector<uint64_t> sizes;
  for (const ShardEntry& shard : index.shards()) {
    keys.push_back(shard.key);
    sizes.push_back(shard.size);
  }
  HR_TRY_ASSIGN(IndexFileAccess::units(index), UnitTable::decode(encoded, keys, sizes));
  for (uint64_t s = 0; s < keys.size(); ++s) {
    if (index.units()->file(s).rows() != index.shards()[s].samples) return bad("rows of shard " + number(s));
  }
  return {};
}

Status read_tables(Bytes tables, bool has_units, DatasetIndex& index, std::vector<uint64_t>& begins) {
  if (tables.size() < 4) return bad("the tables end early");
  const Bytes content = tables.first(tables.size() - 4);
  if (crc32c(content) != load_le<uint32_t>(tables.data() + content.size())) {
    return bad("checksum of the tables");
  }
  Reader in(content);
  HR_TRY(read_shards(in, IndexFileAccess::shards(index), begins));
  HR_TRY(read_fields(in, IndexFileAccess::fields(index)));
  IndexFileAccess::schema_json(index) = in.take_text(kSchemaBytesMax);
  if (has_units && !in.failed()) HR_TRY(read_units(in, index));
  if (in.failed() || !in.at_end()) return bad("the schema does not end where the tables end");
  return {};
}

// All pages of a level as flat arrays of ends and CRCs.
Status read_pages(Bytes level, uint64_t stride, uint64_t strides, bool has_crc,
                  std::vector<uint64_t>& ends, std::vector<uint32_t>& crcs) {
  if (level.size() != level_bytes(strides, has_crc)) {
    return bad("level " + number(stride) + " has " + number(level.size()) + " bytes, " +
               number(strides) + " strides need " + number(level_bytes(strides, has_crc)));
  }
  ends.resize(strides);
  if (has_crc) crcs.resize(strides);
  for (uint64_t first = 0; first < strides; first += kPageEntries) {
    const uint64_t n = std::min(kPageEntries, strides - first);
    const Bytes payload = level.first(n * entry_bytes(has_crc));
    if (page_crc(stride, first / kPageEntries, payload) !=
        load_le<uint32_t>(level.data() + payload.size())) {
      return bad("checksum of page " + number(first / kPageEntries) + " of level " +
                 number(stride));
    }
    std::memcpy(&ends[first], payload.data(), n * 8);
    if (has_crc) std::memcpy(&crcs[first], payload.data() + n * 8, n * 4);
    level = level.subspan(payload.size() + 4);
  }
  return {};
}

// Puts each shard's begin before its ends, checking that they increase and stay inside the object.
Status join_borders(const std::vector<ShardEntry>& shards, uint64_t stride,
                    const std::vector<uint64_t>& begins, const std::vector<uint64_t>& ends,
                    std::vector<uint64_t>& borders) {
  borders.reserve(ends.size() + shards.size());
  size_t e = 0;
  for (size_t s = 0; s < shards.size(); ++s) {
    uint64_t last = begins[s];
    borders.push_back(last);
    for (uint64_t row = 0; row < shards[s].samples; row += stride, ++e) {
      if (ends[e] <= last || ends[e] > shards[s].size) return bad("offsets of shard " + number(s));
      last = ends[e];
      borders.push_back(last);
    }
  }
  return {};
}

Status read_levels(Reader& in, IndexHead& head, uint64_t tables_bytes, uint64_t head_bytes) {
  const auto n = in.take<uint32_t>();
  if (n == 0 || n > kLevelsMax) return bad("number of levels " + number(n));
  if (tables_bytes > kIndexTableBytesMax) {
    return bad("tables of " + number(tables_bytes) + " bytes");
  }
  uint64_t at = head_bytes + tables_bytes;
  for (uint32_t i = 0; i < n; ++i) {
    const auto stride = in.take<uint64_t>();
    const auto begin = in.take<uint64_t>();
    const auto size = in.take<uint64_t>();
    const auto end = checked_add(begin, size);
    const bool in_order = i == 0 || stride * kLevelRatio == head.levels.back().stride;
    if (in.failed() || begin != at || !end || *end > head.file_bytes || !is_stride(stride) || !in_order) {
      return bad("level " + number(i) + " in the head");
    }
    head.levels.push_back({stride, {begin, *end}});
    at = *end;
  }
  if (at != head.file_bytes) {
    return bad("the levels end at byte " + number(at) + ", the file at " + number(head.file_bytes));
  }
  head.tables = {head_bytes, head_bytes + tables_bytes};
  return {};
}

}  // namespace

Result<IndexHead> parse_index_head(Bytes first) {
  Reader in(first);
  const Bytes magic = in.take_bytes(kMagic.size());
  if (in.failed() || as_text(magic) != kMagic) return bad("it does not begin like an index file");
  const auto version = in.take<uint32_t>();
  if (!in.failed() && version != kVersion) {
    return unsupported("read index: version " + number(version) + ", this headrace reads version " +
                       number(kVersion) + ": upgrade, or build the index again");
  }
  const auto head_bytes = in.take<uint32_t>();
  if (in.failed() || head_bytes < kFixedHeadBytes + 4 ||
      head_bytes > std::min(first.size(), kIndexHeaderBytesMax)) {
    return bad("the head ends early");
  }
  const uint64_t content = head_bytes - 4;
  if (crc32c(first.first(content)) != load_le<uint32_t>(first.data() + content)) {
    return bad("checksum of the head");
  }
  IndexHead head;
  head.file_bytes = in.take<uint64_t>();
  const auto format = in.take<uint32_t>();
  const auto flags = in.take<uint32_t>();
  head.samples = in.take<uint64_t>();
  const auto tables_bytes = in.take<uint64_t>();
  head.order_hash = in.take_hash();
  head.identity_hash = in.take_hash();
  const Bytes reserved = in.take_bytes(kReservedBytes);
  head.format = static_cast<Format>(format);
  head.has_crc = (flags & kFlagCrc) != 0;
  head.has_units = (flags & kFlagUnits) != 0;
  for (std::byte b : reserved) {
    if (b != std::byte{0}) return bad("reserved bytes in the head");
  }
  if (flags > (kFlagCrc | kFlagUnits) || format_name(head.format) == "unknown") {
    return bad("format or flags in the head");
  }
  HR_TRY(read_levels(in, head, tables_bytes, head_bytes));
  if (head_bytes != kFixedHeadBytes + kLevelHeadBytes * head.levels.size() + 4) {
    return bad("length of the head");
  }
  return head;
}

const IndexLevel& IndexHead::level_within(uint64_t bytes_max) const {
  HR_ASSERT(!levels.empty());
  const IndexLevel* best = &levels.front();
  for (const IndexLevel& level : levels) {
    if (level.range.size() <= bytes_max) best = &level;
  }
  return *best;
}

Result<std::shared_ptr<const DatasetIndex>> IndexFileAccess::build(const IndexHead& head,
                                                                   DatasetIndex index) {
  index.count_up();
  if (index.samples() != head.samples) return bad("number of samples in the head");
  if (index.order_hash() != head.order_hash) return bad("order hash");
  if (index.identity_hash() != head.identity_hash) return bad("identity hash");
  return std::make_shared<const DatasetIndex>(std::move(index));
}

Result<std::shared_ptr<const DatasetIndex>> decode_index(const IndexHead& head, Bytes tables,
                                                         const IndexLevel& level, Bytes bytes) {
  HR_ASSERT(tables.size() == head.tables.size() && bytes.size() == level.range.size());
  DatasetIndex index = IndexFileAccess::empty();
  std::vector<uint64_t> begins, ends;
  HR_TRY(read_tables(tables, head.has_units, index, begins));
  if (head.has_units) {
    if (IndexFileAccess::units(index)->has_crc() != head.has_crc) return bad("checksums of the units");
    IndexFileAccess::format(index) = head.format;
    return IndexFileAccess::build(head, std::move(index));
  }
  uint64_t strides = 0;  // at most 2^28 shards x 2^32 samples
  for (const ShardEntry& s : index.shards()) {
    strides += (s.samples + level.stride - 1) / level.stride;
  }
  if (strides > bytes.size() / 8) {
    return bad("more strides than level " + number(level.stride) + " can hold");
  }
  HR_TRY(
      read_pages(bytes, level.stride, strides, head.has_crc, ends, IndexFileAccess::crcs(index)));
  HR_TRY(join_borders(index.shards(), level.stride, begins, ends, IndexFileAccess::borders(index)));
  IndexFileAccess::format(index) = head.format;
  IndexFileAccess::stride(index) = level.stride;
  return IndexFileAccess::build(head, std::move(index));
}

Result<std::shared_ptr<const DatasetIndex>> decode_index(Bytes file,
                                                         const IndexDecodeOptions& options) {
  if (!options.name.empty() && options.name != index_file_name(file)) {
    return bad("named " + options.name + ", but its bytes hash to " + index_file_name(file));
  }
  HR_TRY_ASSIGN(
      const IndexHead head,
      parse_index_head(file.first(std::min<uint64_t>(file.size(), kIndexHeaderBytesMax))));
  if (head.file_bytes != file.size()) {
    return bad("it has " + number(file.size()) + " bytes, its head says " +
               number(head.file_bytes));
  }
  if (options.order_hash != nullptr && *options.order_hash != head.order_hash) {
    return precondition_failed("read index: it is another data set's: order hash " +
                               head.order_hash.hex() + ", wanted " + options.order_hash->hex());
  }
  const IndexLevel& level = head.level_within(options.level_bytes_max);
  return decode_index(head, file.subspan(head.tables.begin, head.tables.size()), level,
                      file.subspan(level.range.begin, level.range.size()));
}

}  // namespace headrace
