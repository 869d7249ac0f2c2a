// SPDX-License-Identifier: Apache-2.0
//
// TFRecord files and tf.train.Example (docs/formats/tfrecord.md), without TensorFlow. A sample is a
// record; both of its checksums are always checked. Where the records looked at are Examples, their
// features are columns.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "format/mds.h"
#include "format/shard_format.h"

namespace headrace {

inline constexpr uint64_t kRecordHeadBytes = 12;  // length and its checksum
inline constexpr uint64_t kRecordTailBytes = 4;   // the payload's checksum

// CRC-32C, turned and shifted so that a checksum of checksums is not weak.
uint32_t masked_crc32c(Bytes bytes);

// A feature of an Example.
struct TfFeature {
  enum class Kind : uint8_t { kNone, kBytes, kFloat, kInt64 };
  std::string_view name;
  Kind kind = Kind::kNone;
  uint64_t values = 0;
  Bytes list;  // the BytesList, FloatList or Int64List as it is coded; several of them one after another
};
// The features of an Example, or of a SequenceExample's context, in the order they stand; the last
// of a name counts. kCorrupt: not one.
Status read_tf_features(Bytes record, std::vector<TfFeature>& features);
// The values of a list, `feature.values` of them, little-endian at `out`.
void copy_tf_floats(const TfFeature& feature, char* out);  // float32
void copy_tf_ints(const TfFeature& feature, char* out);    // int64
Bytes first_tf_bytes(const TfFeature& feature);

// Columns by what the records looked at have: "bytes" (one value), "int64", "float32" (one value),
// "ndarray:int64", "ndarray:float32" (any number; a record without the feature has none).
struct TfSchema {
  std::vector<MdsColumn> columns;  // none: records are not taken apart

  std::string json() const;
  static Result<TfSchema> from_json(std::string_view text);
  // The field of the payload: "record", or "__record__" where that is a feature.
  std::string record_field() const;
};
TfSchema learn_tf_schema(const std::vector<std::string>& samples);

class TfRecordCutter final : public Cutter {
 public:
  explicit TfRecordCutter(TfSchema schema);
  Status cut(Bytes bytes, uint64_t rows, SampleBatchView& out) const override;

 private:
  Status cut_record(Bytes payload, SampleBatchView& out, std::vector<TfFeature>& features) const;

  const TfSchema schema_;
  const std::string record_field_;
};

std::shared_ptr<const ShardFormat> make_tfrecord_format(TfSchema schema);

}  // namespace headrace
