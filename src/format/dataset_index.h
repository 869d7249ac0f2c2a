// SPDX-License-Identifier: Apache-2.0
//
// DatasetIndex: which shards a data set has, how many samples lie in each, and where every stride
// of K samples begins and ends, with a CRC-32C of its bytes. All readers share it; immutable once
// built, any thread. How it is written to an object is index_file.h; how it is found out is
// indexer.h.
//
// Inside a shard the strides lie one after another without gaps: what a format puts between two
// samples (members of a tar that belong to no sample) counts to the sample before it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/result.h"

namespace headrace {

struct UnitFile;   // format/unit_table.h
class UnitTable;

// The numbers are part of index files and of the order hash: never reuse one.
enum class Format : uint32_t {
  kWebDataset = 1,
  kMds = 2,
  kJsonl = 3,
  kMosaicJson = 4,
  kMosaicXsv = 5,
  kTokens = 6,
  kTfRecord = 7,
  kLitData = 8,
  kImages = 9,
  kNpy = 10,
  kNpz = 11,
  kObjects = 12,
  kParquet = 16,
  kArrow = 17,
  kArrayRecord = 18,
};

std::string_view format_name(Format format);  // format_facts(); else "unknown"
Result<Format> format_from_name(std::string_view name);

// ShardEntry::checksum of a CRC-32C: "crc32c:1a2b3c4d".
std::string crc32c_text(uint32_t crc);

struct ShardEntry {
  std::string key;  // relative to the data set's root
  uint64_t size = 0;
  std::string etag;
  std::string version_id;
  uint64_t samples = 0;
  std::string
      checksum;  // of the whole object, "crc32c:1a2b3c4d" or what the format gives; may be empty

  friend bool operator==(const ShardEntry&, const ShardEntry&) = default;
};

struct FieldEntry {
  std::string name;
  uint64_t samples = 0;  // that have it; fewer than the data set's = missing in some

  friend bool operator==(const FieldEntry&, const FieldEntry&) = default;
};

// What is known of one shard. `borders` has strides + 1 entries: stride k is [borders[k], borders[k
// + 1]).
struct ShardIndex {
  uint64_t samples = 0;
  uint64_t stride = 1;
  std::vector<uint64_t> borders;
  std::vector<uint32_t> crcs;  // one a stride, or none at all
  std::vector<FieldEntry> fields;
  std::string checksum;
  bool end_blocks_missing = false;  // a tar without end-of-archive blocks: perhaps a cut one
  uint64_t skipped_members = 0;     // of a tar, that belong to no sample
  std::shared_ptr<const UnitFile> units;  // of formats that are decoded in units: instead of borders and CRCs
};

// Limits. A shard of 2^32 samples or a data set of 2^40 is a damaged file or an attack, not data.
inline constexpr uint64_t kShardSamplesMax = uint64_t{1} << 32;
inline constexpr uint64_t kStrideMax = 65'536;    // the longest block of the order
inline constexpr uint64_t kStrideBytes = 65'536;  // K x mean sample size stays at or below it
inline constexpr uint64_t kFieldsMax = 4'096;

// The largest power of two K with K x mean <= 64 KiB, in 1..kStrideMax: 1 for images, 64 for 1 KB
// texts.
uint64_t stride_for_mean_bytes(uint64_t mean_bytes);

// What a writer's choice has decoded at once makes strides of so many samples: they need not be powers of two.
inline bool is_stride(uint64_t k) { return k > 0 && k <= kStrideMax; }

// The same shard at a coarser stride, a multiple of its own; CRCs are joined.
ShardIndex coarsened_shard(ShardIndex fine, uint64_t stride);

class DatasetIndex {
 public:
  Format format() const { return format_; }
  uint64_t stride() const { return stride_; }  // K; a power of two unless a format says otherwise
  const std::vector<ShardEntry>& shards() const { return shards_; }
  const std::vector<FieldEntry>& fields() const {
    return fields_;
  }  // union of the shards', first seen first
  const std::string& schema_json() const {
    return schema_json_;
  }  // the format's own; MDS: columns. May be empty
  uint64_t samples() const { return samples_; }
  uint64_t sample_bytes() const {
    return sample_bytes_;
  }  // stored bytes of all samples: mean = this / samples()
  bool has_crc() const { return !crcs_.empty() || (samples_ == 0 && units_ == nullptr); }
  // Whatever is read can be checked: strides by their CRCs, units by those of their pages.
  bool has_checksums() const;
  std::vector<uint64_t> counts() const;  // samples of each shard
  // Where samples lie that can only be decoded in units; then there are no strides, and what is said of them below is
  // not to be asked. Null: by strides.
  const std::shared_ptr<const UnitTable>& units() const { return units_; }

  uint64_t strides() const { return first_stride_.back(); }  // of the whole data set
  uint64_t strides(uint64_t shard) const { return first_stride_[shard + 1] - first_stride_[shard]; }
  uint64_t stride_of_row(uint64_t row) const { return row / stride_; }
  // Rows [begin, end) of a stride: `stride()` of them, fewer in a shard's last.
  uint64_t row_begin(uint64_t stride) const { return stride * stride_; }
  uint64_t row_end(uint64_t shard, uint64_t stride) const;
  ByteRange stride_range(uint64_t shard, uint64_t stride) const;
  uint32_t stride_crc(uint64_t shard, uint64_t stride) const;
  // The bytes of rows [row_begin, row_end) of a shard, rounded out to stride borders; row_begin <
  // row_end <= samples.
  ByteRange range_of_rows(uint64_t shard, uint64_t row_begin, uint64_t row_end) const;
  // All sample bytes of a shard.
  ByteRange data_range(uint64_t shard) const;

  // Checks the CRC of the strides first..first+n-1 of a shard, whose bytes lie one after another in
  // `bytes`; kCorrupt names the shard, the byte range and both checksums. Ok without CRCs.
  Status verify(uint64_t shard, uint64_t first_stride, uint64_t n, Bytes bytes) const;

  // What a sample number means: format and, for each shard, key, size and samples.
  Hash128 order_hash() const;
  // Which bytes: ETags, version ids and checksums.
  Hash128 identity_hash() const;

  // The same data set with a coarser stride, a multiple of stride().
  DatasetIndex coarsened(uint64_t stride) const;

  uint64_t memory_bytes() const;

  friend bool operator==(const DatasetIndex&, const DatasetIndex&) = default;  // of unit tables: the same object

 private:
  friend class DatasetIndexBuilder;
  friend class IndexFileAccess;
  DatasetIndex() = default;
  uint64_t border_at(uint64_t shard) const { return first_stride_[shard] + shard; }
  void count_up();

  Format format_ = Format::kWebDataset;
  uint64_t stride_ = 1;
  std::vector<ShardEntry> shards_;
  std::vector<FieldEntry> fields_;
  std::string schema_json_;
  uint64_t samples_ = 0;
  uint64_t sample_bytes_ = 0;
  std::vector<uint64_t> first_stride_;  // of each shard, and their number: shards + 1
  std::vector<uint64_t> borders_;       // shard s: strides(s) + 1 of them from border_at(s)
  std::vector<uint32_t> crcs_;          // strides() of them, or none
  std::shared_ptr<const UnitTable> units_;
};

// Is this the data set that `listed` (the store's listing, in the data set's order) describes?
// kPrecondition names the first shard that differs and how. `trust_copy` accepts other ETags and
// version ids where sizes agree.
Status check_listing(const DatasetIndex& index, const std::vector<ShardEntry>& listed,
                     bool trust_copy);

struct IndexBuildOptions {
  uint64_t stride =
      0;  // 0 = stride_for_mean_bytes of what was found; else shards must come at a divisor of it
  std::string schema_json;
};

// Collects shard results in any order. Not thread-safe.
class DatasetIndexBuilder {
 public:
  // `shards` in the order of the data set, with key, size, ETag and version id.
  DatasetIndexBuilder(Format format, std::vector<ShardEntry> shards,
                      IndexBuildOptions options = {});

  // Once for each shard. kCorrupt when it contradicts itself or the shard's size.
  Status add(uint64_t shard, ShardIndex found);
  uint64_t shards_missing() const { return missing_; }
  // Once. kInvalidArgument when shards are missing; kUnsupported when the data set has no samples.
  Result<std::shared_ptr<const DatasetIndex>> finish();

  // Shards whose samples nobody has counted yet, for reading them from front to back: an index of
  // no samples. `fields`: those that are known.
  static std::shared_ptr<const DatasetIndex> uncounted(Format format,
                                                       std::vector<ShardEntry> shards,
                                                       std::string schema_json,
                                                       std::vector<FieldEntry> fields);

 private:
  Result<std::shared_ptr<const DatasetIndex>> finish_units();

  Format format_;
  IndexBuildOptions options_;
  std::vector<ShardEntry> shards_;
  std::vector<ShardIndex> found_;
  std::vector<bool> have_;
  uint64_t missing_ = 0;
};

}  // namespace headrace
