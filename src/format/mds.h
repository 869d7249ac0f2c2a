// SPDX-License-Identifier: Apache-2.0
//
// MDS, the format of mosaicml-streaming (docs/formats/mds.md): an index.json over shards; a shard
// is a table of offsets and concatenated samples; a sample is the sizes of its variable columns,
// then the columns. Compressed shards are read whole, in the stream order. Turning column bytes into
// values is decode/'s work; what the bytes are is said by MdsEncoding.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "format/dataset_index.h"
#include "format/indexer.h"
#include "format/sample.h"
#include "format/sample_scanner.h"

namespace headrace {

enum class MdsKind {
  kBytes,
  kStr,
  kScalar,  // kScalar: `dtype`; "int" is int64
  kStrInt,
  kStrFloat,
  kStrDecimal,  // ASCII text of a number
  kNdarray,     // `dtype` and `shape` as far as the encoding fixes them
  kPil,
  kJpeg,
  kPng,
  kJpegArray,
  kListPil,
  kListJpeg,
  kListPng,
  kJson,
  kNpy,  // not MDS's: a whole .npy file
};
// The values are the codes that dynamic ndarrays carry.
enum class MdsDtype : uint8_t {
  kNone = 0,
  kUint8 = 8,
  kInt8 = 9,
  kUint16 = 16,
  kInt16 = 17,
  kFloat16 = 18,
  kUint32 = 32,
  kInt32 = 33,
  kFloat32 = 34,
  kUint64 = 64,
  kInt64 = 65,
  kFloat64 = 66,
};
uint64_t mds_dtype_bytes(MdsDtype dtype);         // 0 for kNone
std::string_view mds_dtype_name(MdsDtype dtype);  // "uint8"; "" for kNone

struct MdsEncoding {
  std::string name;  // as written: "ndarray:int16:3,4"
  MdsKind kind = MdsKind::kBytes;
  MdsDtype dtype = MdsDtype::kNone;  // kScalar; kNdarray with a fixed dtype
  std::vector<uint64_t> shape;       // kNdarray with a fixed shape
  uint64_t fixed_bytes = 0;          // 0 = variable: the sample carries its size
};
// kUnsupported for "pkl" (code in data) and for names outside the format.
Result<MdsEncoding> parse_mds_encoding(std::string_view name);

// A dynamic ndarray taken apart: encoding "ndarray" (dtype code first) or "ndarray:DT". With a
// fixed shape too.
struct MdsNdarray {
  MdsDtype dtype = MdsDtype::kNone;
  uint32_t ndim = 0;
  std::array<uint64_t, 63> shape{};
  Bytes values;  // little-endian, C order, any alignment
};
Result<MdsNdarray> read_mds_ndarray(Bytes stored, const MdsEncoding& encoding);

struct MdsColumn {
  std::string name;
  MdsEncoding encoding;
};
struct MdsSchema {
  std::vector<MdsColumn> columns;  // in stored order

  std::string json() const;  // DatasetIndex::schema_json()
  static Result<MdsSchema> from_json(std::string_view text);
};

struct MdsFileHash {
  std::string algorithm;  // "sha1", "xxh3_64"
  std::string hex;
};
struct MdsShard {
  std::string basename;  // relative to the index.json's folder; may have sub-folders, never ".."
                         // and never absolute
  uint64_t bytes = 0;
  uint64_t samples = 0;
  std::vector<MdsFileHash> hashes;
  // The object that is there when the shard is compressed (its name says how); else empty.
  std::string zip_basename;
  uint64_t zip_bytes = 0;
  std::vector<MdsFileHash> zip_hashes;
};
struct MdsIndex {
  Format format = Format::kMds;  // or kMosaicJson, kMosaicXsv: text, with an index.json like it
  MdsSchema schema;              // the same in all shards, as all that stands here
  std::string newline;           // of text
  std::string separator;         // of kMosaicXsv
  std::vector<MdsShard> shards;
};

inline constexpr uint64_t kMdsIndexBytesMax = uint64_t{8}
                                              << 30;  // about 1 KB a shard: 8 million shards
inline constexpr uint64_t kMdsColumnsMax = 1'024;
inline constexpr uint64_t kMdsJsonDepthMax = 16;

// index.json, version 2. kCorrupt names the shard (from 0) and the key; kUnsupported: another
// version, an unknown compression, shards with different columns.
Result<MdsIndex> parse_mds_index(Bytes json);

// The shards' objects as DatasetIndexBuilder wants them, without ETags.
std::vector<ShardEntry> mds_shard_entries(const MdsIndex& index);

// Indexes an MDS shard of `object_size` bytes that index.json says has `shard.samples` samples:
// reads the table of offsets, with options.crc the whole shard.
std::unique_ptr<Indexer> make_mds_indexer(const MdsShard& shard, const MdsSchema& schema,
                                          uint64_t object_size, IndexerOptions options = {});

// The samples of a shard from front to back, from their column sizes; the shard's own table of
// offsets is passed over. Checks their number, the shard's size and, where it began at the front, the
// first of its hashes that can be checked: at the end, when the samples were given out.
// `shard.bytes` 0: the size is not known.
std::unique_ptr<SampleScanner> make_mds_scanner(const MdsShard& shard, const MdsSchema& schema,
                                                const ScanStart& start);

// Cutter::find_rows() of samples that are `sizes` numbers of 32 bits, then as many bytes and `fixed_bytes` more.
Status begins_by_sizes(Bytes bytes, uint64_t rows, uint64_t sizes, uint64_t fixed_bytes, std::vector<uint32_t>& begins);

class MdsCutter final : public Cutter {
 public:
  explicit MdsCutter(MdsSchema schema);
  Status cut(Bytes bytes, uint64_t rows, SampleBatchView& out) const override;
  Status find_rows(const CutPlace& place, Bytes bytes, uint64_t rows, std::vector<uint32_t>& begins) const override;
  const MdsSchema& schema() const { return schema_; }

 private:
  MdsSchema schema_;
  uint32_t variable_ = 0;     // number of variable columns
  uint64_t fixed_bytes_ = 0;  // of all fixed columns
};

// Checks a whole file against one of its listed hashes, piece by piece. kUnsupported for algorithms
// other than xxh32, xxh64, xxh3_64 and xxh128/xxh3_128.
class MdsHashCheck {
 public:
  static Result<std::unique_ptr<MdsHashCheck>> make(const MdsFileHash& expected);
  virtual ~MdsHashCheck() = default;
  virtual void update(Bytes bytes) = 0;
  virtual Status finish() = 0;  // kCorrupt names both
};
// For the first of the hashes that can be checked; null: none can.
std::unique_ptr<MdsHashCheck> make_hash_check(const std::vector<MdsFileHash>& hashes);
// Of the object as it is stored.
std::unique_ptr<MdsHashCheck> stored_hash_check(const MdsShard& shard);
// The scanner, and at the shard's end, where it began at its front, a check of its plain bytes.
std::unique_ptr<SampleScanner> make_hashed_scanner(std::unique_ptr<SampleScanner> scanner, const ScanStart& start,
                                                   const std::vector<MdsFileHash>& hashes);

}  // namespace headrace
