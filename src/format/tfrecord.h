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
// One Feature message. False: not one.
bool read_tf_feature(Bytes message, TfFeature& feature);
// The values of a list, `feature.values` of them, little-endian at `out`.
void copy_tf_floats(const TfFeature& feature, char* out);  // float32
void copy_tf_ints(const TfFeature& feature, char* out);    // int64
Bytes first_tf_bytes(const TfFeature& feature);

// A feature list of a SequenceExample: one feature a step.
struct TfFeatureList {
  std::string_view name;
  Bytes list;          // the FeatureList message
  uint64_t steps = 0;
  uint32_t kinds = 0;  // a bit for each TfFeature::Kind that a step has
  uint64_t values_min = UINT64_MAX, values_max = 0;  // of a step
};
// Those of a record, in the order they stand; the last of a name counts. An Example has none.
Status read_tf_feature_lists(Bytes record, std::vector<TfFeatureList>& lists);

// A column of a feature list: its place in the record's SequenceExample, and how its steps lie.
struct TfListColumn {
  MdsColumn column;  // "ndarray:int64", "ndarray:float32", "json"
  TfFeature::Kind kind = TfFeature::Kind::kNone;
  uint64_t width = 0;  // values of every step; 0: any number
};
// What lists of these records become; those that are named as one of `taken` become nothing.
std::vector<TfListColumn> learn_tf_lists(const std::vector<Bytes>& payloads, const std::vector<MdsColumn>& taken);
// The bytes of a list for its column. False: it is of another kind, or of other steps.
bool tf_list_field(const TfListColumn& column, const TfFeatureList& list, SampleBatchView& out, Bytes& field);

// Columns by what the records looked at have: "bytes" (one value), "int64", "float32" (one value),
// "ndarray:int64", "ndarray:float32" (any number; a record without the feature has none).
struct TfSchema {
  std::vector<MdsColumn> columns;   // none: records are not taken apart
  std::vector<TfListColumn> lists;  // of SequenceExamples

  std::vector<MdsColumn> all_columns() const;  // both
  std::string json() const;
  static Result<TfSchema> from_json(std::string_view text);
  // The field of the payload: "record", or "__record__" where that is a feature.
  std::string record_field() const;
  std::vector<FieldEntry> fields() const;  // columns and payload
};
TfSchema learn_tf_schema(const std::vector<Bytes>& payloads);

class TfRecordCutter final : public Cutter {
 public:
  explicit TfRecordCutter(TfSchema schema);
  Status cut(Bytes bytes, uint64_t rows, SampleBatchView& out) const override;
  // Checks the lengths' checksums; the payloads' are checked as each record is cut.
  Status find_rows(const CutPlace& place, Bytes bytes, uint64_t rows, std::vector<uint32_t>& begins) const override;
  // Adds the fields of a payload to the last sample; `features` is room that is used again.
  Status cut_payload(Bytes payload, SampleBatchView& out, std::vector<TfFeature>& features) const;

 private:
  const TfSchema schema_;
  const std::string record_field_;
};

std::shared_ptr<const ShardFormat> make_tfrecord_format(TfSchema schema);

}  // namespace headrace
