// SPDX-License-Identifier: Apache-2.0
//
// TFRecord: the published record and checksum vectors, both checksums at every flip and cut; Examples
// packed and unpacked, and what is none.
#include "format/tfrecord.h"

#include <gtest/gtest.h>

#include <map>

#include "base/endian.h"
#include "format/testing_index.h"

namespace headrace {
namespace {

using testing::run_indexer;
using namespace std::literals;

constexpr uint64_t kNoMax = uint64_t{1} << 40;

std::string record(const std::string& payload) {
  std::string out(12, '\0');
  store_le<uint64_t>(out.data(), payload.size());
  store_le<uint32_t>(out.data() + 8, masked_crc32c(as_bytes(out.substr(0, 8))));
  out += payload + std::string(4, '\0');
  store_le<uint32_t>(out.data() + out.size() - 4, masked_crc32c(as_bytes(payload)));
  return out;
}

ShardEntry entry_of(uint64_t size) {
  ShardEntry entry;
  entry.size = size;
  return entry;
}

// As TensorFlow's RecordWriter writes "hello".
TEST(TfRecord, IsTheOneTensorFlowWrites) {
  EXPECT_EQ(record("hello"), "\x05\0\0\0\0\0\0\0\xea\xb2\x04\x3ehello\xbb\x1f\x1c\x19"s);
}

// A protocol buffer's field of bytes.
std::string field(int number, const std::string& bytes) {
  return static_cast<char>(number << 3 | 2) + std::string(1, static_cast<char>(bytes.size())) + bytes;
}
std::string feature(const std::string& name, int kind, const std::string& list) {
  return field(1, field(1, name) + field(2, field(kind, list)));
}
std::string f32(float value) {
  std::string out(4, '\0');
  store_le(out.data(), value);
  return out;
}
const std::string kOneInt = field(1, "\x96\x01");         // packed 150
const std::string kInts = "\x08\x96\x01\x08\x02"s;        // not packed: 150, 2
const std::string kMinusOne = field(1, std::string(9, '\xff') + "\x01");

std::string example(const std::vector<std::string>& features) {
  std::string all;
  for (const std::string& f : features) all += f;
  return field(1, all);
}

std::map<std::string, std::string> cut_one(const TfSchema& schema, const std::string& payload) {
  SampleBatchView view;
  const std::string stored = record(payload);
  const TfRecordCutter cutter(schema);
  const Status status = cutter.cut(as_bytes(stored), 1, view);
  EXPECT_TRUE(status.ok()) << status.message();
  std::map<std::string, std::string> fields;
  for (const FieldView& f : view[0].fields) fields[std::string(f.name)] = std::string(as_text(f.bytes));
  return fields;
}
TfSchema learned_from(const std::vector<std::string>& payloads) {
  std::vector<Bytes> views;
  for (const std::string& payload : payloads) views.push_back(as_bytes(payload));
  return learn_tf_schema(views);
}
std::string types(const TfSchema& schema) {
  std::string text;
  for (const MdsColumn& c : schema.columns) text += c.name + "=" + c.encoding.name + " ";
  return text;
}

TEST(TfExample, ColumnsAreWhatAllRecordsHave) {
  const std::string a = example({feature("i", 3, kOneInt), feature("f", 2, field(1, f32(0.5))),
                                        feature("b", 1, field(1, "xy")), feature("v", 3, kInts)});
  EXPECT_EQ(types(learned_from({a})), "b=bytes f=float32 i=int64 v=ndarray:int64 ");
  const std::string b = example({feature("i", 3, kInts), feature("b", 1, field(1, "x") + field(1, "y")),
                                        feature("v", 2, field(1, f32(1)))});
  EXPECT_EQ(types(learned_from({a, b})), "f=ndarray:float32 i=ndarray:int64 ");  // b: lists; v: two kinds
  EXPECT_EQ(types(learned_from({a, "opaque!"})), "");
  EXPECT_EQ(types(learned_from({""})), "");
  EXPECT_EQ(types(learned_from({example({feature("e", 3, "")})})), "");  // never a value: no kind
  EXPECT_EQ(types(learned_from({})), "");
}

TEST(TfExample, GivesValuesPackedAndNot) {
  const std::string payload =
      example({feature("i", 3, kOneInt), feature("v", 3, kInts), feature("n", 3, kMinusOne),
               feature("f", 2, "\x0d" + f32(0.25)), feature("w", 2, field(1, f32(1) + f32(2))),
               feature("b", 1, field(1, "bytes")), feature("b", 1, field(1, "last"))});
  const TfSchema schema = learned_from({payload});
  auto fields = cut_one(schema, payload);
  EXPECT_EQ(load_le<int64_t>(fields["i"].data()), 150);
  EXPECT_EQ(load_le<int64_t>(fields["n"].data()), -1);
  EXPECT_EQ(load_le<float>(fields["f"].data()), 0.25f);
  EXPECT_EQ(fields["b"], "last");
  EXPECT_EQ(fields["record"], payload);
  const auto ints = read_mds_ndarray(as_bytes(fields["v"]), parse_mds_encoding("ndarray:int64").value());
  ASSERT_TRUE(ints.ok());
  EXPECT_EQ(ints->shape[0], 2u);
  EXPECT_EQ(load_le<int64_t>(ints->values.data() + 8), 2);
  const auto floats = read_mds_ndarray(as_bytes(fields["w"]), parse_mds_encoding("ndarray:float32").value());
  EXPECT_EQ(load_le<float>(floats->values.data() + 4), 2.0f);
}

TEST(TfExample, WhatIsMissingIsMissingAndAListIsEmpty) {
  const TfSchema schema = learned_from(
      {example({feature("i", 3, kOneInt), feature("v", 3, kInts), feature("b", 1, field(1, "x"))})});
  auto fields = cut_one(schema, example({feature("other", 3, kOneInt)}));
  EXPECT_EQ(fields.size(), 2u);
  EXPECT_EQ(fields["v"], "\x07"s + std::string(8, '\0'));
  fields = cut_one(schema, example({feature("i", 2, field(1, f32(1))), feature("b", 1, ""), feature("v", 1, field(1, "x"))}));
  EXPECT_EQ(fields.size(), 1u) << "other kinds are not made to fit";
}

TEST(TfExample, WhatIsNoneIsCorrupt) {
  std::vector<TfFeature> features;
  const std::string good = example({feature("i", 3, kInts), feature("f", 2, field(1, f32(1)))});
  EXPECT_TRUE(read_tf_features(as_bytes(good), features).ok());
  size_t errors = 0;
  for (size_t n = 1; n < good.size(); ++n) {
    features.clear();
    errors += !read_tf_features(as_bytes(good.substr(0, n)), features).ok();
  }
  EXPECT_EQ(errors, good.size() - 1);
  for (const std::string& bad :
       {"\x0f"s, "\x03"s, "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"s, "\x08\x01"s, field(1, "\x08\x01"),
        field(1, field(1, field(2, field(3, "\x0d" + f32(1))))), field(1, field(1, field(2, field(2, field(1, "abc"))))),
        field(1, field(1, field(2, field(1, "\x08\x01")))), field(1, field(1, field(2, field(3, field(1, "\x80")))))}) {
    features.clear();
    EXPECT_EQ(read_tf_features(as_bytes(bad), features).code(), Code::kCorrupt);
  }
}

TEST(TfRecord, IsIndexedAndScanned) {
  const std::string text = record("hello") + record("") + record(std::string(300, 'x'));
  const auto format = *shard_format(Format::kTfRecord, "");
  for (uint64_t chunk : {1u, 10u, 1'000u}) {
    const auto found = run_indexer(*format->indexer(0, entry_of(text.size()), {}), text, chunk);
    ASSERT_TRUE(found.ok()) << found.status().message();
    EXPECT_EQ(found->borders, (std::vector<uint64_t>{0, 21, 37, 353}));
    EXPECT_EQ(found->crcs.size(), 3u);
    EXPECT_EQ(found->fields, (std::vector<FieldEntry>{{"record", 3}}));
    for (uint64_t begin : {0u, 21u, 37u}) {
      const auto scanner = format->scanner(0, {begin, 0, kNoMax});
      std::vector<ByteRange> samples;
      for (uint64_t at = begin; at < text.size();) {
        const auto got = scanner->next(as_bytes(std::string_view(text).substr(at, chunk)));
        ASSERT_TRUE(got.ok());
        at += got->used;
        EXPECT_LE(scanner->keep_from(), at);
        if (got->sample) samples.push_back(*got->sample);
      }
      EXPECT_TRUE(scanner->finish().ok());
      EXPECT_EQ(samples.back(), (ByteRange{37, 353}));
      EXPECT_EQ(samples.size(), begin == 0 ? 3u : begin == 21 ? 2u : 1u);
    }
  }
  const Status large = format->scanner(0, {37, 0, 100})->next(as_bytes(text.substr(37))).status();
  EXPECT_EQ(large.code(), Code::kExhausted);
  EXPECT_NE(large.message().find("record at byte 37: 316 bytes"), std::string::npos) << large.message();
}

TEST(TfRecord, EveryCutAndEveryFlipIsFound) {
  const std::string text = record("hello") + record("world!");
  const auto format = *shard_format(Format::kTfRecord, "");
  const auto cutter = format->cutter({});
  SampleBatchView view;
  for (size_t n = 0; n < text.size(); ++n) {
    const std::string part = text.substr(0, n);
    EXPECT_EQ(run_indexer(*format->indexer(0, entry_of(n), {}), part, 5).ok(), n == 0 || n == 21) << n;
    EXPECT_EQ(cutter->cut(as_bytes(part), 2, view).code(), Code::kCorrupt);
    const auto scanner = format->scanner(0, {0, 0, kNoMax});
    bool good = true;
    for (size_t at = 0; good && at < n;) {
      const auto got = scanner->next(as_bytes(std::string_view(part).substr(at)));
      good = got.ok();
      if (good) at += got->used;
    }
    EXPECT_EQ(good && scanner->finish().ok(), n == 0 || n == 21) << n;
  }
  for (size_t bit = 0; bit < text.size() * 8; ++bit) {
    std::string damaged = text;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    EXPECT_EQ(cutter->cut(as_bytes(damaged), 2, view).code(), Code::kCorrupt) << bit;
    EXPECT_TRUE(view.empty());
  }
  EXPECT_EQ(cutter->cut(as_bytes(text), 1, view).code(), Code::kCorrupt);
}

TEST(TfSchema, SurvivesItsText) {
  const TfSchema schema = learned_from({example({feature("record", 3, kOneInt)})});
  EXPECT_EQ(schema.record_field(), "__record__");
  EXPECT_EQ(TfSchema::from_json(schema.json())->json(), schema.json());
  EXPECT_EQ(TfSchema::from_json("{}")->record_field(), "record");
  EXPECT_FALSE(TfSchema::from_json("[]").ok());
  EXPECT_EQ(format_of_key("a/train.tfrecord-00003-of-00128")->format, Format::kTfRecord);
  EXPECT_EQ(format_of_key("a/train.tfrecord-00003-of-00128.gz")->format, Format::kTfRecord);
  EXPECT_EQ(format_of_key("a/train.tfrecord-0003-of-00128"), nullptr);
}

}  // namespace
}  // namespace headrace
