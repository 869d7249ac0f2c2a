// SPDX-License-Identifier: Apache-2.0
//
// Writing and reading the sidecar index. The layout is docs/formats/index.md; this file follows its
// order. A level is cut into pages with a checksum each, and page p lies at a place that can be
// computed, so that a later reader can take a few pages of a fine level instead of all of it.
#include "format/index_file.h"

#include <algorithm>
#include <bit>

#include "base/checked.h"
#include "base/crc32c.h"
#include "base/endian.h"

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
  static void count_up(DatasetIndex& i) { i.count_up(); }
};

namespace {

constexpr std::string_view kMagic{"\x89HRIDX\r\n",
                                  8};  // a text-mode copy or a stripped high bit shows at once
constexpr uint32_t kVersion = 1;
constexpr uint32_t kFlagCrc = 1;
constexpr uint64_t kFixedHeadBytes = 96;
constexpr uint64_t kLevelHeadBytes = 24;
constexpr uint64_t kLevelsMax =
    5;  // K, 16 K, 256 K, 4,096 K, 65,536 K: K x 16^4 is past kStrideMax for any K
constexpr uint64_t kLevelRatio = 16;
constexpr uint64_t kLevelBytesEnough =
    uint64_t{1} << 20;  // a level that small is one range: no coarser one is written
constexpr uint64_t kPageEntries = 4'096;  // 48 KiB: one small range
constexpr uint64_t kShardsMax = uint64_t{1} << 28;
constexpr uint64_t kTextBytesMax = uint64_t{1} << 16;  // of a key, an ETag, ...
constexpr uint64_t kSchemaBytesMax = uint64_t{1} << 24;

std::string number(uint64_t n) { return std::to_string(n); }
Status bad(const std::string& cause) {
  return corrupt("read index: " + cause + "; delete the index file and build it again");
}

template <class T>
void put(std::string& out, T value) {
  char raw[sizeof(T)];
  store_le(raw, value);
  out.append(raw, sizeof raw);
}
void put_text(std::string& out, std::string_view text) {
  put(out, static_cast<uint32_t>(text.size()));
  out += text;
}
void put_hash(std::string& out, const Hash128& hash) {
  out.append(reinterpret_cast<const char*>(hash.bytes.data()), hash.bytes.size());
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

uint64_t entry_bytes(bool has_crc) { return has_crc ? 12 : 8; }

// Bytes of a level with that many strides: entries and one checksum a page.
uint64_t level_bytes(uint64_t strides, bool has_crc) {
  return strides * entry_bytes(has_crc) + (strides + kPageEntries - 1) / kPageEntries * 4;
}

// A page's checksum begins with its level and number, so that a page at the wrong place is seen.
uint32_t page_crc(uint64_t stride, uint64_t page, Bytes payload) {
  char seed[16];
  store_le(seed, stride);
  store_le(seed + 8, page);
  return crc32c(payload, crc32c(as_bytes({seed, sizeof seed})));
}

// Level entries of one stride after another, all shards in order: where it ends, and its CRC.
void put_level(std::string& out, const DatasetIndex& index) {
  std::string ends, crcs;
  uint64_t in_page = 0, page = 0;
  const auto flush = [&] {
    ends += crcs;
    put(ends, page_crc(index.stride(), page, as_bytes(ends)));
    out += ends;
    ends.clear();
    crcs.clear();
    in_page = 0;
    ++page;
  };
  for (uint64_t s = 0; s < index.shards().size(); ++s) {
    for (uint64_t k = 0; k < index.strides(s); ++k) {
      put(ends, index.stride_range(s, k).end);
      if (index.has_crc()) put(crcs, index.stride_crc(s, k));
      if (++in_page == kPageEntries) flush();
    }
  }
  if (in_page > 0) flush();
}

std::string encode_tables(const DatasetIndex& index) {
  std::string out;
  put(out, static_cast<uint64_t>(index.shards().size()));
  for (uint64_t s = 0; s < index.shards().size(); ++s) {
    const ShardEntry& shard = index.shards()[s];
    put(out, shard.size);
    put(out, shard.samples);
    put(out, index.data_range(s).begin);
    put_text(out, shard.key);
    put_text(out, shard.etag);
    put_text(out, shard.version_id);
    put_text(out, shard.checksum);
  }
  put(out, static_cast<uint32_t>(index.fields().size()));
  for (const FieldEntry& f : index.fields()) {
    put(out, f.samples);
    put_text(out, f.name);
  }
  put_text(out, index.schema_json());
  put(out, crc32c(as_bytes(out)));
  return out;
}

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
    if (shard.samples > kShardSamplesMax || begins.back() > shard.size)
      return bad("numbers of shard " + number(s));
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

Status read_tables(Bytes tables, DatasetIndex& index, std::vector<uint64_t>& begins) {
  if (tables.size() < 4) return bad("the tables end early");
  const Bytes content = tables.first(tables.size() - 4);
  if (crc32c(content) != load_le<uint32_t>(tables.data() + content.size()))
    return bad("checksum of the tables");
  Reader in(content);
  HR_TRY(read_shards(in, IndexFileAccess::shards(index), begins));
  HR_TRY(read_fields(in, IndexFileAccess::fields(index)));
  IndexFileAccess::schema_json(index) = in.take_text(kSchemaBytesMax);
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
  if (tables_bytes > kIndexTableBytesMax)
    return bad("tables of " + number(tables_bytes) + " bytes");
  uint64_t at = head_bytes + tables_bytes;
  for (uint32_t i = 0; i < n; ++i) {
    const auto stride = in.take<uint64_t>();
    const auto begin = in.take<uint64_t>();
    const auto size = in.take<uint64_t>();
    const auto end = checked_add(begin, size);
    const bool in_order = i == 0 || stride * kLevelRatio == head.levels.back().stride;
    if (in.failed() || begin != at || !end || *end > head.file_bytes || stride > kStrideMax ||
        !std::has_single_bit(stride) || !in_order) {
      return bad("level " + number(i) + " in the head");
    }
    head.levels.push_back({stride, {begin, *end}});
    at = *end;
  }
  if (at != head.file_bytes)
    return bad("the levels end at byte " + number(at) + ", the file at " + number(head.file_bytes));
  head.tables = {head_bytes, head_bytes + tables_bytes};
  return {};
}

}  // namespace

std::string index_file_name(Bytes file) { return hash128(file).hex() + std::string(kIndexSuffix); }

// Head: magic, version, head bytes, file bytes, format, flags, samples, tables bytes, two hashes,
// levels, CRC.
std::string encode_index(const DatasetIndex& index) {
  std::vector<std::string> levels;
  std::vector<uint64_t> strides;
  DatasetIndex at_level = index;
  while (true) {  // fine to coarse
    std::string level;
    put_level(level, at_level);
    levels.push_back(std::move(level));
    strides.push_back(at_level.stride());
    const uint64_t coarser = at_level.stride() * kLevelRatio;
    if (levels.back().size() <= kLevelBytesEnough || coarser > kStrideMax) break;
    at_level = at_level.coarsened(coarser);
  }
  const std::string tables = encode_tables(index);
  const uint64_t head_bytes = kFixedHeadBytes + kLevelHeadBytes * levels.size() + 4;
  uint64_t file_bytes = head_bytes + tables.size();
  for (const std::string& level : levels) file_bytes += level.size();

  std::string out(kMagic);
  put(out, kVersion);
  put(out, static_cast<uint32_t>(head_bytes));
  put(out, file_bytes);
  put(out, static_cast<uint32_t>(index.format()));
  put(out, index.has_crc() ? kFlagCrc : 0u);
  put(out, index.samples());
  put(out, static_cast<uint64_t>(tables.size()));
  put_hash(out, index.order_hash());
  put_hash(out, index.identity_hash());
  put(out, uint64_t{0});  // reserved
  put(out, uint32_t{0});
  put(out, static_cast<uint32_t>(levels.size()));
  HR_ASSERT(out.size() == kFixedHeadBytes);
  uint64_t at = head_bytes + tables.size();
  for (size_t i = levels.size(); i-- > 0;) {
    put(out, strides[i]);
    put(out, at);
    put(out, static_cast<uint64_t>(levels[i].size()));
    at += levels[i].size();
  }
  put(out, crc32c(as_bytes(out)));
  out += tables;
  for (size_t i = levels.size(); i-- > 0;) out += levels[i];
  return out;
}

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
  if (crc32c(first.first(content)) != load_le<uint32_t>(first.data() + content))
    return bad("checksum of the head");
  IndexHead head;
  head.file_bytes = in.take<uint64_t>();
  const auto format = in.take<uint32_t>();
  const auto flags = in.take<uint32_t>();
  head.samples = in.take<uint64_t>();
  const auto tables_bytes = in.take<uint64_t>();
  head.order_hash = in.take_hash();
  head.identity_hash = in.take_hash();
  in.take_bytes(12);
  head.format = static_cast<Format>(format);
  head.has_crc = (flags & kFlagCrc) != 0;
  if (flags > kFlagCrc || format_name(head.format) == "unknown")
    return bad("format or flags in the head");
  HR_TRY(read_levels(in, head, tables_bytes, head_bytes));
  if (head_bytes != kFixedHeadBytes + kLevelHeadBytes * head.levels.size() + 4)
    return bad("length of the head");
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
  HR_TRY(read_tables(tables, index, begins));
  uint64_t strides = 0;  // at most 2^28 shards x 2^32 samples
  for (const ShardEntry& s : index.shards())
    strides += (s.samples + level.stride - 1) / level.stride;
  if (strides > bytes.size() / 8)
    return bad("more strides than level " + number(level.stride) + " can hold");
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

Result<std::string> encode_energon_idx(const DatasetIndex& index, uint64_t shard) {
  if (index.stride() != 1) {
    return unsupported("write .idx: the index has one offset for " + number(index.stride()) +
                       " samples; build it with stride 1");
  }
  std::string out;
  put(out, index.data_range(shard).begin);
  for (uint64_t k = 0; k < index.strides(shard); ++k) put(out, index.stride_range(shard, k).end);
  return out;
}

Result<std::vector<uint64_t>> decode_energon_idx(Bytes file, uint64_t object_size) {
  if (file.size() < 8 || file.size() % 8 != 0) {
    return corrupt("read .idx: " + number(file.size()) + " bytes are not a list of 64-bit numbers");
  }
  std::vector<uint64_t> borders(file.size() / 8);
  std::memcpy(borders.data(), file.data(), file.size());
  for (size_t i = 1; i < borders.size(); ++i) {
    if (borders[i] <= borders[i - 1])
      return corrupt("read .idx: offset " + number(i) + " does not increase");
  }
  if (borders.back() > object_size) {
    return corrupt("read .idx: it ends at byte " + number(borders.back()) + ", the object has " +
                   number(object_size));
  }
  return borders;
}

}  // namespace headrace
