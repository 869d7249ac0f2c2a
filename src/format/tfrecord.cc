// SPDX-License-Identifier: Apache-2.0
#include "format/tfrecord.h"

#include <algorithm>

#include "base/crc32c.h"
#include "base/endian.h"
#include "format/row_begins.h"

namespace headrace {
namespace {

std::string number(uint64_t n) { return std::to_string(n); }

// A longer record is a damaged length; it is checked, so that this says what TensorFlow can write.
constexpr uint64_t kRecordBytesMax = uint64_t{1} << 40;
// As MDS stores an array of one dimension and a fixed dtype: the shape in 8 bytes, then the values.
constexpr size_t kArrayHead = 9;
constexpr char kOneDimension = 1 << 2 | 3;

// The length of the payload behind a head of 12 bytes.
Result<uint64_t> payload_bytes(const char* head) {
  const auto length = load_le<uint64_t>(head);
  const uint32_t stated = load_le<uint32_t>(head + 8), found = masked_crc32c(as_bytes({head, 8}));
  if (stated != found) {
    return corrupt("the checksum of its length is stated as " + number(stated) + ", but is " + number(found) +
                   ": damaged, or no TFRecord");
  }
  if (length > kRecordBytesMax) return corrupt("a length of " + number(length) + " bytes");
  return length;
}

// Where records end, in bytes that come piece by piece.
class RecordWalker {
 public:
  explicit RecordWalker(uint64_t begin) : at_(begin), begin_(begin), end_(begin) {}
  struct Step {
    size_t used = 0;
    bool head = false;    // the head was read just now: end() is known
    bool record = false;  // a record ended
  };
  Result<Step> next(Bytes bytes) {
    Step step;
    const uint64_t target = in_body_ ? end_ : begin_ + kRecordHeadBytes;
    step.used = static_cast<size_t>(std::min<uint64_t>(target - at_, bytes.size()));
    if (!in_body_) head_.append(as_text(bytes.first(step.used)));
    at_ += step.used;
    if (at_ < target) return step;
    if (in_body_) {
      step.record = true;
      in_body_ = false;
      last_ = {begin_, end_};
      begin_ = end_;
      return step;
    }
    const Result<uint64_t> length = payload_bytes(head_.data());
    if (!length.ok()) return length.status().with_context("record at byte " + number(begin_));
    head_.clear();
    end_ = begin_ + kRecordHeadBytes + *length + kRecordTailBytes;
    step.head = in_body_ = true;
    return step;
  }
  Status finish() const {
    if (at_ == begin_) return {};
    return corrupt("record at byte " + number(begin_) + ": the data end inside it, at byte " + number(at_) +
                   ": cut off?");
  }
  uint64_t at() const { return at_; }
  uint64_t begin() const { return begin_; }
  uint64_t end() const { return end_; }
  ByteRange last() const { return last_; }

 private:
  uint64_t at_, begin_, end_;
  bool in_body_ = false;
  std::string head_;
  ByteRange last_;
};

class RecordScanner final : public SampleScanner {
 public:
  explicit RecordScanner(const ScanStart& start) : max_(start.sample_bytes_max), walker_(start.begin) {}
  Result<Step> next(Bytes bytes) override {
    Step out;
    while (out.used < bytes.size() && !out.sample) {
      HR_TRY_ASSIGN(const RecordWalker::Step step, walker_.next(bytes.subspan(out.used)));
      out.used += step.used;
      if (step.head && walker_.end() - walker_.begin() > max_) {
        return exhausted("record at byte " + number(walker_.begin()) + ": " +
                         number(walker_.end() - walker_.begin()) + " bytes, the limit is " + number(max_) +
                         " (an eighth of the memory); raise memory=");
      }
      if (step.record) out.sample = walker_.last();
    }
    return out;
  }
  Result<std::optional<ByteRange>> finish() override {
    HR_TRY(walker_.finish());
    return std::optional<ByteRange>();
  }
  uint64_t at() const override { return walker_.at(); }
  uint64_t keep_from() const override { return walker_.begin(); }

 private:
  const uint64_t max_;
  RecordWalker walker_;
};

class RecordIndexer final : public Indexer {
 public:
  RecordIndexer(uint64_t size, std::vector<FieldEntry> fields, IndexerOptions options)
      : size_(size), options_(options), walker_(0) {
    found_.stride = options.stride;
    found_.fields = std::move(fields);
  }
  Result<IndexStep> next(Bytes bytes) override {
    if (bytes.size() > size_ - walker_.at()) {
      return invalid_argument("index TFRecord: given bytes beyond byte " + number(size_));
    }
    if (options_.crc) object_crc_ = crc32c(bytes, object_crc_);
    while (!bytes.empty()) {
      if (walker_.at() == walker_.begin() && found_.samples % options_.stride == 0) open_stride();
      HR_TRY_ASSIGN(const RecordWalker::Step step, walker_.next(bytes));
      if (options_.crc) stride_crc_ = crc32c(bytes.first(step.used), stride_crc_);
      bytes = bytes.subspan(step.used);
      if (step.head && walker_.end() > size_) {
        return corrupt("record at byte " + number(walker_.begin()) + ": it ends at byte " + number(walker_.end()) +
                       ", the object has " + number(size_) + ": cut off?");
      }
      if (step.record && ++found_.samples > kShardSamplesMax) {
        return exhausted("index TFRecord: more than " + number(kShardSamplesMax) + " records in one shard");
      }
    }
    if (walker_.at() < size_) return IndexStep{{walker_.at(), size_}, std::nullopt};
    HR_TRY(walker_.finish());
    if (found_.samples > 0 && options_.crc) found_.crcs.push_back(stride_crc_);
    found_.borders.push_back(size_);
    for (FieldEntry& field : found_.fields) field.samples = found_.samples;
    if (options_.crc) found_.checksum = crc32c_text(object_crc_);
    return IndexStep{{size_, size_}, std::move(found_)};
  }

 private:
  void open_stride() {
    if (found_.samples > 0 && options_.crc) found_.crcs.push_back(stride_crc_);
    found_.borders.push_back(walker_.begin());
    stride_crc_ = 0;
  }

  const uint64_t size_;
  const IndexerOptions options_;
  RecordWalker walker_;
  uint32_t stride_crc_ = 0, object_crc_ = 0;
  ShardIndex found_;
};

class TfRecordFormat final : public ShardFormat {
 public:
  explicit TfRecordFormat(TfSchema schema) : schema_(std::move(schema)) {}
  Format format() const override { return Format::kTfRecord; }
  std::string schema_json() const override { return schema_.json(); }
  std::vector<MdsColumn> columns() const override { return schema_.all_columns(); }
  std::vector<FieldEntry> fields() const override { return schema_.fields(); }
  bool learns() const override { return true; }
  Result<std::shared_ptr<const ShardFormat>> learned(const std::vector<std::string>& samples) const override {
    std::vector<Bytes> payloads;
    for (const std::string& sample : samples) {
      constexpr size_t kAround = kRecordHeadBytes + kRecordTailBytes;
      if (sample.size() < kAround) return make_tfrecord_format({});
      payloads.push_back(as_bytes(sample).subspan(kRecordHeadBytes, sample.size() - kAround));
    }
    return make_tfrecord_format(learn_tf_schema(payloads));
  }
  std::shared_ptr<const Cutter> cutter(const std::vector<FieldEntry>&) const override {
    return std::make_shared<TfRecordCutter>(schema_);
  }
  std::unique_ptr<Indexer> indexer(uint64_t, const ShardEntry& entry, IndexerOptions options) const override {
    return std::make_unique<RecordIndexer>(entry.size, fields(), options);
  }
  std::unique_ptr<SampleScanner> scanner(uint64_t, const ScanStart& start) const override {
    return std::make_unique<RecordScanner>(start);
  }

 private:
  const TfSchema schema_;
};

// The bytes of a feature for a column of this type. False: it is of another kind, or not one value.
bool feature_field(const MdsEncoding& type, const TfFeature& feature, SampleBatchView& out, Bytes& field) {
  const bool array = type.kind == MdsKind::kNdarray;
  if (!array && feature.values != 1) return false;
  if (type.kind == MdsKind::kBytes) {
    field = first_tf_bytes(feature);
    return feature.kind == TfFeature::Kind::kBytes;
  }
  const bool ints = type.dtype == MdsDtype::kInt64;
  if (feature.values > 0 && feature.kind != (ints ? TfFeature::Kind::kInt64 : TfFeature::Kind::kFloat)) return false;
  const size_t head = array ? kArrayHead : 0, bytes = head + feature.values * (ints ? 8 : 4);
  char* room = out.text_room(bytes);
  if (array) {
    room[0] = kOneDimension;
    store_le<uint64_t>(room + 1, feature.values);
  }
  if (feature.values > 0) (ints ? copy_tf_ints : copy_tf_floats)(feature, room + head);
  field = as_bytes({room, bytes});
  return true;
}

}  // namespace

uint32_t masked_crc32c(Bytes bytes) {
  const uint32_t crc = crc32c(bytes);
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

TfRecordCutter::TfRecordCutter(TfSchema schema) : schema_(std::move(schema)), record_field_(schema_.record_field()) {}

Status TfRecordCutter::cut_payload(Bytes payload, SampleBatchView& out, std::vector<TfFeature>& features) const {
  const std::vector<MdsColumn>& columns = schema_.columns;
  features.clear();
  if (!columns.empty()) HR_TRY(read_tf_features(payload, features));
  for (size_t c = 0; c < columns.size(); ++c) {
    const auto found = std::ranges::find(features, columns[c].name, &TfFeature::name);
    const TfFeature none;  // a list of any length that is not there is an empty one
    Bytes field;
    if (feature_field(columns[c].encoding, found == features.end() ? none : *found, out, field)) {
      out.add_field({columns[c].name, field, static_cast<uint32_t>(c)});
    }
  }
  auto id = static_cast<uint32_t>(columns.size());
  std::vector<TfFeatureList> lists;
  if (!schema_.lists.empty()) HR_TRY(read_tf_feature_lists(payload, lists));
  for (const TfListColumn& list : schema_.lists) {
    const auto found = std::ranges::find(lists, list.column.name, &TfFeatureList::name);
    Bytes field;
    if (tf_list_field(list, found == lists.end() ? TfFeatureList() : *found, out, field)) {
      out.add_field({list.column.name, field, id});
    }
    ++id;
  }
  out.add_field({record_field_, payload, id});
  return {};
}

Status TfRecordCutter::cut(Bytes bytes, uint64_t rows, SampleBatchView& out) const {
  const size_t before = out.size();
  std::vector<TfFeature> features;
  for (uint64_t row = 0; row < rows || !bytes.empty(); ++row) {
    const auto fail = [&](const Status& status) {
      out.truncate(before);
      return status.with_context("cut TFRecord, row " + number(row));
    };
    if (row == rows) return fail(corrupt("bytes behind the last record"));
    if (bytes.size() < kRecordHeadBytes) return fail(corrupt("the bytes end inside its length"));
    const Result<uint64_t> length = payload_bytes(reinterpret_cast<const char*>(bytes.data()));
    if (!length.ok()) return fail(length.status());
    if (bytes.size() - kRecordHeadBytes < *length + kRecordTailBytes) return fail(corrupt("the bytes end inside it"));
    const Bytes payload = bytes.subspan(kRecordHeadBytes, *length);
    const auto stated = load_le<uint32_t>(payload.data() + payload.size());
    if (const uint32_t found = masked_crc32c(payload); stated != found) {
      return fail(corrupt("the checksum of its " + number(*length) + " bytes is stated as " + number(stated) +
                          ", but is " + number(found) + ": they were changed"));
    }
    out.begin_sample({});
    Status status = cut_payload(payload, out, features);
    if (!status.ok()) return fail(status);
    bytes = bytes.subspan(kRecordHeadBytes + *length + kRecordTailBytes);
  }
  return {};
}

Status TfRecordCutter::find_rows(const CutPlace&, Bytes bytes, uint64_t rows, std::vector<uint32_t>& begins) const {
  RecordScanner scanner({.sample_bytes_max = bytes.size()});
  return begins_by_scanner(scanner, bytes, rows, begins);
}

std::shared_ptr<const ShardFormat> make_tfrecord_format(TfSchema schema) {
  return std::make_shared<TfRecordFormat>(std::move(schema));
}

TfSchema learn_tf_schema(const std::vector<Bytes>& payloads) {
  struct Seen {
    std::string name;
    uint64_t records = 0;  // that have a value of it
    uint32_t kinds = 0;
    bool single = true;  // one value in each
  };
  std::vector<Seen> seen;
  TfSchema schema;
  for (const Bytes payload : payloads) {
    std::vector<TfFeature> features;
    if (!read_tf_features(payload, features).ok()) return schema;
    for (const TfFeature& feature : features) {
      if (feature.name.empty()) return schema;  // other messages have fields of this number, too
      auto at = std::ranges::find(seen, feature.name, &Seen::name);
      if (at == seen.end()) at = seen.insert(at, {std::string(feature.name)});
      if (feature.values > 0) {
        ++at->records;
        at->kinds |= 1u << static_cast<uint32_t>(feature.kind);
      }
      at->single = at->single && feature.values == 1;
    }
  }
  if (seen.size() > kMdsColumnsMax) return schema;
  std::ranges::sort(seen, {}, &Seen::name);  // a map's order is by chance
  for (const Seen& s : seen) {
    const bool single = s.single && s.records == payloads.size();
    std::string_view type;
    if (s.kinds == 1u << static_cast<uint32_t>(TfFeature::Kind::kBytes) && single) type = "bytes";
    if (s.kinds == 1u << static_cast<uint32_t>(TfFeature::Kind::kInt64)) type = single ? "int64" : "ndarray:int64";
    if (s.kinds == 1u << static_cast<uint32_t>(TfFeature::Kind::kFloat)) type = single ? "float32" : "ndarray:float32";
    if (!type.empty()) schema.columns.push_back({s.name, parse_mds_encoding(type).value()});
  }
  schema.lists = learn_tf_lists(payloads, schema.columns);
  if (schema.columns.size() + schema.lists.size() > kMdsColumnsMax) schema.lists.clear();
  return schema;
}

std::vector<MdsColumn> TfSchema::all_columns() const {
  std::vector<MdsColumn> all = columns;
  for (const TfListColumn& list : lists) all.push_back(list.column);
  return all;
}

std::vector<FieldEntry> TfSchema::fields() const {
  std::vector<FieldEntry> fields;
  for (const MdsColumn& c : all_columns()) fields.push_back({c.name, 0});
  fields.push_back({record_field(), 0});
  return fields;
}

std::string TfSchema::record_field() const {
  const std::vector<MdsColumn> all = all_columns();
  const bool taken = std::ranges::find(all, "record", &MdsColumn::name) != all.end();
  return taken ? "__record__" : "record";
}

}  // namespace headrace
