// SPDX-License-Identifier: Apache-2.0
//
// Feature lists of SequenceExamples, put together by the wire format's rules; what TensorFlow wrote is read in
// tests/e2e/test_fixtures.py (tfrecord-sequence).
#include <gtest/gtest.h>

#include "base/endian.h"
#include "format/testing_riegeli.h"
#include "format/tfrecord.h"

namespace headrace {
namespace {

using testing::varint;
using namespace std::string_literals;

std::string part(uint32_t number, const std::string& body) {
  return varint(number << 3 | 2) + varint(body.size()) + body;
}
std::string bytes_step(const std::vector<std::string>& values) {
  std::string list;
  for (const std::string& v : values) list += part(1, v);
  return part(1, list);
}
std::string floats_step(const std::vector<float>& values) {
  std::string packed(4 * values.size(), '\0');
  for (size_t i = 0; i < values.size(); ++i) store_le<float>(packed.data() + 4 * i, values[i]);
  return part(2, part(1, packed));
}
std::string ints_step(const std::vector<uint64_t>& values) {
  std::string list;
  for (uint64_t v : values) list += varint(1 << 3) + varint(v);
  return part(3, list);
}
std::string list_of(const std::string& name, const std::vector<std::string>& steps) {
  std::string list;
  for (const std::string& s : steps) list += part(1, s);
  return part(1, part(1, name) + part(2, list));
}
std::string record(const std::vector<std::string>& lists, const std::string& context = "") {
  std::string all;
  for (const std::string& l : lists) all += l;
  return (context.empty() ? "" : part(1, part(1, part(1, context) + part(2, ints_step({7}))))) + part(2, all);
}

TfSchema learned(const std::vector<std::string>& payloads) {
  std::vector<Bytes> views;
  for (const std::string& payload : payloads) views.push_back(as_bytes(payload));
  return learn_tf_schema(views);
}
std::string types(const TfSchema& schema) {
  std::string text;
  for (const MdsColumn& c : schema.columns) text += c.name + "=" + c.encoding.name + " ";
  for (const TfListColumn& l : schema.lists) {
    text += l.column.name + "=" + l.column.encoding.name + "/" + std::to_string(l.width) + " ";
  }
  return text;
}
// The fields of one record by name; "?" where there is none.
std::string cut(const TfSchema& schema, const std::string& payload, std::string_view name) {
  SampleBatchView view;
  std::vector<TfFeature> features;
  view.begin_sample({});
  EXPECT_TRUE(TfRecordCutter(schema).cut_payload(as_bytes(payload), view, features).ok());
  const FieldView* field = view[0].find(name);
  return field == nullptr ? "?" : std::string(as_text(field->bytes));
}
MdsNdarray array(const std::string& stored, const char* type) {
  return *read_mds_ndarray(as_bytes(stored), *parse_mds_encoding(type));
}

TEST(TfSequence, AListIsAnArrayWhereItsStepsAreEvenElseJson) {
  const std::string a = record({list_of("one", {ints_step({1}), ints_step({2})}), list_of("pair", {floats_step({1, 2})}),
                                list_of("odd", {ints_step({1}), ints_step({2, 3})}), list_of("text", {bytes_step({"x"})}),
                                list_of("texts", {bytes_step({"x", "y"})}), list_of("none", {}),
                                list_of("mixed", {ints_step({1}), floats_step({1})})},
                               "id");
  const std::string b = record({list_of("pair", {}), list_of("one", {ints_step({3})}), list_of("id", {ints_step({1})})}, "id");
  const TfSchema schema = learned({a, b});
  EXPECT_EQ(types(schema),
            "id=int64 odd=json/0 one=ndarray:int64/1 pair=ndarray:float32/2 text=json/1 texts=json/0 ");
  EXPECT_EQ(types(learned({a, "opaque"})), "");
  EXPECT_EQ(types(learned({part(2, list_of("", {ints_step({1})}))})), "");
  EXPECT_EQ(types(*TfSchema::from_json(schema.json())), types(schema));
  EXPECT_EQ(schema.fields().back().name, "record");
  EXPECT_EQ(schema.all_columns().size() + 1, schema.fields().size());
}

TEST(TfSequence, ValuesAreThoseOfTheSteps) {
  const std::string payload =
      record({list_of("i", {ints_step({1}), ints_step({UINT64_MAX})}), list_of("f", {floats_step({1, 2}), floats_step({3, 4})}),
              list_of("j", {ints_step({5}), ints_step({6, 7}), ints_step({})}), list_of("g", {floats_step({0.5}), floats_step({1, 2})}),
              list_of("t", {bytes_step({"f"}), bytes_step({"foobar"})}), list_of("u", {bytes_step({"fo", "foo"}), bytes_step({})})});
  const TfSchema schema = learned({payload});
  const std::string i = cut(schema, payload, "i"), f = cut(schema, payload, "f");
  const MdsNdarray ints = array(i, "ndarray:int64"), floats = array(f, "ndarray:float32");
  EXPECT_EQ(ints.ndim, 1u);
  EXPECT_EQ(ints.shape[0], 2u);
  EXPECT_EQ(load_le<int64_t>(ints.values.data() + 8), -1);
  EXPECT_EQ(floats.ndim, 2u);
  EXPECT_EQ(floats.shape[0] * 10 + floats.shape[1], 22u);
  EXPECT_EQ(load_le<float>(floats.values.data() + 8), 3.0f);
  EXPECT_EQ(cut(schema, payload, "j"), "[[5],[6,7],[]]");
  EXPECT_EQ(cut(schema, payload, "g"), "[[0.5],[1.0,2.0]]");
  EXPECT_EQ(cut(schema, payload, "t"), "[\"Zg==\",\"Zm9vYmFy\"]");  // RFC 4648, section 10
  EXPECT_EQ(cut(schema, payload, "u"), "[[\"Zm8=\",\"Zm9v\"],[]]");
  EXPECT_EQ(cut(schema, payload, "record"), payload);
}

TEST(TfSequence, AListThatIsNotThereIsEmptyAndOneThatDoesNotFitIsMissing) {
  const TfSchema schema = learned({record({list_of("f", {floats_step({1, 2})}), list_of("t", {bytes_step({"x"})})})});
  const std::string none = record({});
  const std::string stored = cut(schema, none, "f");
  const MdsNdarray floats = array(stored, "ndarray:float32");
  EXPECT_EQ(floats.shape[0], 0u);
  EXPECT_EQ(floats.shape[1], 2u);
  EXPECT_EQ(cut(schema, none, "t"), "[]");
  EXPECT_EQ(cut(schema, record({list_of("f", {floats_step({1})})}), "f"), "?");
  EXPECT_EQ(cut(schema, record({list_of("f", {ints_step({1, 2})})}), "f"), "?");
  EXPECT_EQ(cut(schema, record({list_of("t", {bytes_step({"x", "y"})})}), "t"), "?");
  EXPECT_EQ(cut(schema, record({list_of("t", {bytes_step({"x"}), bytes_step({})})}), "t"), "?");
  const std::string twice = record({list_of("t", {bytes_step({"a"})}), list_of("t", {bytes_step({"f"})})});
  EXPECT_EQ(cut(schema, twice, "t"), "[\"Zg==\"]") << "the last one counts";
}

TEST(TfSequence, WhatIsNoneIsCorrupt) {
  const std::string good = record({list_of("f", {floats_step({1, 2})})});
  std::vector<TfFeatureList> lists;
  EXPECT_TRUE(read_tf_feature_lists(as_bytes(good), lists).ok());
  for (const std::string& bad : {good.substr(0, good.size() - 1), "\x10\x01"s, part(2, "\x08\x01"), part(2, part(1, "\x08\x01")),
                                 part(2, part(1, part(2, "\x08\x01"))), part(2, part(1, part(2, part(1, "\x08\x01"))))}) {
    lists.clear();
    EXPECT_EQ(read_tf_feature_lists(as_bytes(bad), lists).code(), Code::kCorrupt) << bad;
  }
  std::string many;
  for (int i = 0; i <= 4'096; ++i) many += list_of(std::to_string(i), {});
  lists.clear();
  EXPECT_EQ(read_tf_feature_lists(as_bytes(part(2, many)), lists).code(), Code::kExhausted);
}

TEST(TfSequence, ASchemaThatDoesNotFitIsRefused) {
  const auto with = [](const std::string& lists) {
    return TfSchema::from_json(R"({"column_names":["a"],"column_encodings":["ndarray:int64"],"feature_lists":)" + lists +
                               "}").ok();
  };
  EXPECT_TRUE(with(R"([{"kind":3,"width":1}])"));
  for (const char* bad : {"1", "[1]", "[{}]", R"([{"kind":3}])", R"([{"kind":0,"width":1}])", R"([{"kind":4,"width":1}])",
                          R"([{"kind":1,"width":1}])", R"([{"kind":3,"width":0}])", R"([{"kind":3,"width":-1}])",
                          R"([{"kind":3,"width":1},{"kind":3,"width":1}])"}) {
    EXPECT_FALSE(with(bad)) << bad;
  }
}

}  // namespace
}  // namespace headrace
