// SPDX-License-Identifier: Apache-2.0
//
// Writing the sidecar index, in the order of docs/formats/index.md. A level is cut into pages with
// a checksum each, and page p lies at a place that can be computed, so that a later reader can take
// a few pages of a fine level instead of all of it.
#include <algorithm>

#include "format/index_file.h"
#include "format/index_layout.h"
#include "format/unit_table.h"

namespace headrace {
namespace {

using namespace index_layout;  // NOLINT: this file is the layout

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
    put(out, index.units() ? uint64_t{0} : index.data_range(s).begin);
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
  if (index.units()) {
    const std::string units = index.units()->encode();
    put(out, static_cast<uint64_t>(units.size()));
    out += units;
  }
  put(out, crc32c(as_bytes(out)));
  return out;
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
    levels.push_back(std::move(level));  // of units: empty
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
  put(out, (index.has_checksums() ? kFlagCrc : 0u) | (index.units() ? kFlagUnits : 0u));
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

Result<std::string> encode_energon_idx(const DatasetIndex& index, uint64_t shard) {
  if (index.stride() != 1) {
    return unsupported("write .idx: the index has one offset for " +
                       std::to_string(index.stride()) + " samples; build it with stride 1");
  }
  std::string out;
  put(out, index.data_range(shard).begin);
  for (uint64_t k = 0; k < index.strides(shard); ++k) put(out, index.stride_range(shard, k).end);
  return out;
}

}  // namespace headrace
