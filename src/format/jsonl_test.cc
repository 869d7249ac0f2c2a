// SPDX-License-Identifier: Apache-2.0
//
// Columns of JSON lines: which types are learned, what a cut gives for each, and that nothing of
// another type is delivered as if it fitted.
#include "format/jsonl.h"

#include <gtest/gtest.h>

#include <map>

#include "base/endian.h"
#include "format/testing_index.h"

namespace headrace {
namespace {

using testing::run_indexer;

JsonlSchema learn(const std::vector<std::string>& lines) {
  JsonlSchemaLearner learner;
  for (const std::string& line : lines) EXPECT_TRUE(learner.add(line).ok()) << line;
  return learner.schema();
}
std::string types(const std::vector<std::string>& lines) {
  std::string text;
  for (const MdsColumn& c : learn(lines).columns) text += c.name + "=" + c.encoding.name + " ";
  return text;
}

TEST(JsonlSchema, TypesAreWhatAllLinesHave) {
  EXPECT_EQ(types({R"({"t":"x","i":1,"f":1.5,"b":true,"l":[1,2],"m":[1,2.5],"o":{"a":1},"n":null})"}),
            "t=str i=str_int f=str_float b=uint8 l=ndarray:int64 m=ndarray:float64 o=json n=json ");
  EXPECT_EQ(types({R"({"a":1})", R"({"a":2.5})"}), "a=str_float ");
  EXPECT_EQ(types({R"({"a":1})", R"({"a":"1"})"}), "a=json ");
  EXPECT_EQ(types({R"({"a":"x"})", R"({"a":null})"}), "a=json ");
  EXPECT_EQ(types({R"({"a":"x"})", R"({"b":"y"})"}), "a=json b=json ");
  EXPECT_EQ(types({R"({"a":[]})", R"({"a":[1]})"}), "a=ndarray:int64 ");
  EXPECT_EQ(types({R"({"a":[]})"}), "a=json ");
  EXPECT_EQ(types({R"({"a":[[1]]})"}), "a=json ");
  EXPECT_EQ(types({R"({"a":["x"]})"}), "a=json ");
  EXPECT_EQ(types({R"({"a":9223372036854775807})"}), "a=str_int ");
  EXPECT_EQ(types({R"({"a":9223372036854775808})"}), "a=str_float ");
  EXPECT_EQ(types({R"({"a":1,"a":"last"})"}), "a=str ");
  EXPECT_EQ(types({R"({"\u0061":1})"}), "a=str_int ");
  EXPECT_EQ(types({R"({"b":1,"a":1})", R"({"a":1,"c":1,"b":1})"}), "b=str_int a=str_int c=json ");
}

TEST(JsonlSchema, OtherLinesThanObjectsHaveNoColumns) {
  for (const char* line : {"[1,2]", "\"text\"", "12", "null"}) {
    EXPECT_EQ(types({R"({"a":1})", line}), "") << line;
  }
  EXPECT_EQ(types({}), "");
  JsonlSchemaLearner learner;
  for (const char* bad : {"text", "{\"a\":}", "{} {}", "1,2", "{\"\\ud800\":1}"}) {
    EXPECT_EQ(learner.add(bad).code(), Code::kCorrupt) << bad;
  }
}

TEST(JsonlSchema, NameThatIsNotUtf8IsNoJsonAndGivesNoColumn) {
  JsonlSchemaLearner learner;
  const Status status = learner.add("{\"a\":1,\"b\xff\":2}");  // RFC 8259, section 8.1
  EXPECT_EQ(status.code(), Code::kCorrupt);
  EXPECT_NE(status.message().find("not UTF-8 at its byte 1"), std::string::npos) << status.message();
  ASSERT_TRUE(learner.add("{\"a\":1}").ok());
  EXPECT_EQ(learner.schema().columns.size(), 1u);
}

TEST(JsonlSchema, SurvivesItsText) {
  const JsonlSchema schema = learn({R"({"a":"x","line":1})"});
  EXPECT_EQ(schema.line_field(), "__line__");
  const auto again = JsonlSchema::from_json(schema.json());
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->json(), schema.json());
  EXPECT_EQ(JsonlSchema::from_json("{}")->columns.size(), 0u);
  EXPECT_EQ(JsonlSchema::from_json("")->line_field(), "line");
  EXPECT_FALSE(JsonlSchema::from_json("[]").ok());
}

using Fields = std::map<std::string, std::string>;
std::vector<Fields> cut(const JsonlSchema& schema, const std::string& text, uint64_t rows) {
  SampleBatchView view;
  const JsonlCutter cutter(schema);  // the views have its names
  const Status status = cutter.cut(as_bytes(text), rows, view);
  EXPECT_TRUE(status.ok()) << status.message();
  std::vector<Fields> out;
  for (size_t i = 0; i < view.size(); ++i) {
    Fields fields;
    for (const FieldView& f : view[i].fields) {
      fields[std::string(f.name)] = std::string(as_text(f.bytes));
      EXPECT_LT(f.id, schema.columns.size() + 1);
    }
    out.push_back(std::move(fields));
  }
  return out;
}

TEST(JsonlCutter, GivesColumnsAndTheLine) {
  const std::string first = R"({"t":"a\nb","i":-7,"f":1e3,"b":true,"j":{"x":[1]}})";
  const JsonlSchema schema = learn({first});
  const auto rows = cut(schema, first + "\r\n\n" + R"({"f":2,"i":8,"b":false,"t":"","j":"s","more":1})", 2);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0], (Fields{{"t", "a\nb"}, {"i", "-7"}, {"f", "1e3"}, {"b", "\x01"}, {"j", R"({"x":[1]})"},
                             {"line", first}}));
  EXPECT_EQ(rows[1].at("t"), "");
  EXPECT_EQ(rows[1].at("b"), std::string(1, '\0'));
  EXPECT_EQ(rows[1].at("j"), "\"s\"");
  EXPECT_FALSE(rows[1].contains("more"));
}

TEST(JsonlCutter, ArraysAreWhatMdsSaysTheyAre) {
  const JsonlSchema schema = learn({R"({"i":[1],"f":[0.5]})"});
  const auto row = cut(schema, R"({"i":[1,-2,3],"f":[4,0.25]})", 1)[0];
  const auto ints = read_mds_ndarray(as_bytes(row.at("i")), schema.columns[0].encoding);
  ASSERT_TRUE(ints.ok()) << ints.status().message();
  EXPECT_EQ(ints->ndim, 1u);
  EXPECT_EQ(ints->shape[0], 3u);
  EXPECT_EQ(load_le<uint64_t>(ints->values.data() + 8), static_cast<uint64_t>(-2));
  const auto floats = read_mds_ndarray(as_bytes(row.at("f")), schema.columns[1].encoding);
  ASSERT_TRUE(floats.ok());
  EXPECT_EQ(load_le<double>(floats->values.data()), 4.0);
  EXPECT_EQ(load_le<double>(floats->values.data() + 8), 0.25);
  EXPECT_EQ(cut(schema, R"({"i":[],"f":[]})", 1)[0].at("i").size(), 9u);
}

// A value of another type is missing, not something else.
TEST(JsonlCutter, AnotherTypeIsMissing) {
  const JsonlSchema schema = learn({R"({"t":"x","i":1,"f":1.5,"b":true,"l":[1],"j":null})"});
  const auto fields = [&](const std::string& line) {
    std::string names;
    const Fields row = cut(schema, line, 1)[0];
    for (const auto& [name, bytes] : row) names += name + " ";
    return names;
  };
  EXPECT_EQ(fields("{}"), "j line ");
  EXPECT_EQ(fields(R"({"t":1,"i":1.5,"f":"1","b":1,"l":[1.5],"j":[]})"), "j line ");
  EXPECT_EQ(fields(R"({"t":null,"i":null,"f":null,"b":null,"l":null})"), "j line ");
  EXPECT_EQ(fields(R"({"t":"\ud800","l":[9223372036854775808]})"), "j line ");
  EXPECT_EQ(fields(R"({"t":"x","t":5,"f":7})"), "f j line ");  // the last one counts
  EXPECT_EQ(cut(schema, "{}", 1)[0].at("j"), "null");
}

TEST(JsonlCutter, BadLinesNameTheRowAndLeaveNothing) {
  const JsonlCutter cutter(learn({R"({"a":1})"}));
  SampleBatchView view;
  const auto fault = [&](const std::string& text, uint64_t rows) {
    const Status status = cutter.cut(as_bytes(text), rows, view);
    EXPECT_EQ(status.code(), Code::kCorrupt) << text;
    EXPECT_EQ(view.size(), 0u);
    return status.message();
  };
  EXPECT_NE(fault("{\"a\":1}\n{\"a\":x}\n", 2).find("row 1, at byte 8: JSON, byte 5 of 7: a value"), std::string::npos);
  EXPECT_NE(fault("{}\n", 2).find("after 1 of 2 lines"), std::string::npos);
  EXPECT_NE(fault("{}\n{}\n", 1).find("behind the last sample"), std::string::npos);
  EXPECT_NE(fault("{\"\\ud800\":1}\n", 1).find("surrogate"), std::string::npos);
}

TEST(JsonlCutter, WithoutColumnsAnyLineIsOne) {
  EXPECT_EQ(cut({}, "not json\n\n \xff\n", 2), (std::vector<Fields>{{{"line", "not json"}}, {{"line", " \xff"}}}));
}

TEST(JsonlFormat, LearnsIndexesAndCuts) {
  const std::string text = "{\"a\":1}\n\n{\"a\":2}\n";
  const auto empty = *shard_format(Format::kJsonl, "");
  EXPECT_TRUE(empty->learns());
  const auto format = *empty->learned({"{\"a\":1}\n", "broken"});
  EXPECT_EQ(format->fields(), (std::vector<FieldEntry>{{"a", 0}, {"line", 0}}));
  const auto found = run_indexer(*format->indexer(0, {.key = "x", .size = text.size()}, {}), text, 5);
  EXPECT_EQ(found->fields, (std::vector<FieldEntry>{{"a", 2}, {"line", 2}}));
  EXPECT_FALSE(empty->learned({"broken"}).ok());
  EXPECT_TRUE(empty->learned({}).ok());
}

}  // namespace
}  // namespace headrace
