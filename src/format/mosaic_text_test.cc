// SPDX-License-Identifier: Apache-2.0
//
// json, csv, tsv and xsv shards of mosaicml-streaming: what index.json says of them, and how lines
// become columns.
#include "format/mosaic_text.h"

#include <gtest/gtest.h>

#include "format/testing_index.h"

namespace headrace {
namespace {

using testing::run_indexer;

std::string index_text(const std::string& format, const std::string& columns, const std::string& more = "",
                       const std::string& newline = "\\n") {
  return R"({"version": 2, "shards": [{"compression": null, "format": ")" + format + R"(", "newline": ")" + newline +
         R"(", )" + columns + more +
         R"(, "raw_data": {"basename": "s.x", "bytes": 20, "hashes": {}}, "samples": 2, "version": 2, "zip_data": null}]})";
}
const std::string kJsonColumns = R"("columns": {"w": "float", "id": "int", "name": "str"})";
const std::string kXsvColumns = R"("column_names": ["id", "name", "w"], "column_encodings": ["int", "str", "float"])";

MdsIndex parsed(const std::string& text) {
  auto index = parse_mds_index(as_bytes(text));
  EXPECT_TRUE(index.ok()) << index.status().message();
  return *std::move(index);
}
void expect_failure(const std::string& text, Code code, std::string_view part) {
  const Status status = parse_mds_index(as_bytes(text)).status();
  EXPECT_EQ(status.code(), code) << status.message();
  EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
}

TEST(MosaicIndex, SaysFormatColumnsAndMarks) {
  const MdsIndex json = parsed(index_text("json", kJsonColumns, "", "\\r\\n"));
  EXPECT_EQ(json.format, Format::kMosaicJson);
  EXPECT_EQ(json.newline, "\r\n");
  ASSERT_EQ(json.schema.columns.size(), 3u);
  EXPECT_EQ(json.schema.columns[0].name, "id");
  EXPECT_EQ(json.schema.columns[0].encoding.name, "str_int");
  EXPECT_EQ(json.schema.columns[2].encoding.name, "str_float");
  EXPECT_EQ(parsed(index_text("csv", kXsvColumns)).separator, ",");
  EXPECT_EQ(parsed(index_text("tsv", kXsvColumns)).separator, "\t");
  const MdsIndex xsv = parsed(index_text("xsv", kXsvColumns, R"(, "separator": "; ")"));
  EXPECT_EQ(xsv.format, Format::kMosaicXsv);
  EXPECT_EQ(xsv.separator, "; ");
  for (const MdsIndex& index : {json, xsv}) {
    const auto again = mosaic_text_from_schema(index.format, mosaic_text_schema(index));
    ASSERT_TRUE(again.ok()) << again.status().message();
    EXPECT_EQ(mosaic_text_schema(*again), mosaic_text_schema(index));
    EXPECT_EQ(again->separator, index.separator);
  }
}

TEST(MosaicIndex, WhatDoesNotFitIsRefused) {
  expect_failure(index_text("json", R"("columns": {})"), Code::kCorrupt, "/columns");
  expect_failure(index_text("json", R"("columns": {"a": 1})"), Code::kCorrupt, "/columns");
  expect_failure(index_text("json", R"("columns": {"a": "pkl"})"), Code::kUnsupported, "type \"pkl\"");
  expect_failure(index_text("json", kJsonColumns, "", ""), Code::kCorrupt, "/newline");
  expect_failure(index_text("json", kJsonColumns, "", "12345678901234567"), Code::kCorrupt, "/newline");
  expect_failure(index_text("xsv", kXsvColumns), Code::kCorrupt, "/separator");
  expect_failure(index_text("csv", R"("column_names": ["a"], "column_encodings": ["int", "int"])"), Code::kCorrupt,
                 "not two lists");
  expect_failure(index_text("csv", R"("column_names": ["a", "a"], "column_encodings": ["int", "int"])"),
                 Code::kCorrupt, "listed twice");
  std::string two = index_text("csv", kXsvColumns);
  const size_t begin = two.find("{\"compression"), end = two.rfind("]");
  std::string other = two.substr(begin, end - begin);
  other.replace(other.find("csv"), 3, "tsv");
  expect_failure(two.insert(end, ", " + other), Code::kUnsupported, "differs from the first shard's");
  for (const char* schema : {"{}", "[]", R"({"column_names":["a"],"column_encodings":["str"]})"}) {
    EXPECT_FALSE(mosaic_text_from_schema(Format::kMosaicJson, schema).ok()) << schema;
  }
}

std::string rows_of(const Cutter& cutter, std::string_view text, uint64_t rows) {
  SampleBatchView view;
  const Status status = cutter.cut(as_bytes(text), rows, view);
  if (!status.ok()) return (view.empty() ? "error: " : "left: ") + status.message();
  std::string out;
  for (size_t i = 0; i < view.size(); ++i) {
    for (const FieldView& f : view[i].fields) out += std::string(f.name) + "=" + std::string(as_text(f.bytes)) + " ";
    out += "| ";
  }
  return out;
}

TEST(MosaicXsv, IsIndexedScannedAndCut) {
  const std::string text = "id;name;w\n-7;a b;1.5\n8;;nan\n";
  MdsIndex index = parsed(index_text("xsv", kXsvColumns, R"(, "separator": ";")"));
  index.shards[0].bytes = text.size();
  const auto format = make_mds_format(index);
  const auto found = run_indexer(*format->indexer(0, {.key = "s.x", .size = text.size()}, {}), text, 4);
  ASSERT_TRUE(found.ok()) << found.status().message();
  EXPECT_EQ(found->borders, (std::vector<uint64_t>{10, 21, 28}));
  EXPECT_EQ(found->fields.size(), 4u);
  const auto cutter = format->cutter(format->fields());
  EXPECT_EQ(rows_of(*cutter, text.substr(10), 2),
            "id=-7 name=a b w=1.5 line=-7;a b;1.5 | id=8 name= w=nan line=8;;nan | ");
  EXPECT_EQ(rows_of(*cutter, "1;2\n", 1), "error: cut separated values, row 0: 2 values in a line, there are 3 columns");
  EXPECT_EQ(rows_of(*cutter, "1;2;3;4\n", 1),
            "error: cut separated values, row 0: more than 3 values in a line, there are 3 columns");
  EXPECT_EQ(rows_of(*cutter, "1;2;3\n", 2), "error: cut separated values, row 1: the bytes end before it");
  EXPECT_EQ(rows_of(*cutter, "1;2;3\n1;2;3\n", 1),
            "error: cut separated values, row 1: a line behind the last sample");
  EXPECT_FALSE(run_indexer(*format->indexer(0, {.key = "s.x", .size = 21}, {}), text.substr(0, 21), 4).ok());
  const auto scanner = format->scanner(0, {21, 1, 1 << 20});
  const auto step = scanner->next(as_bytes(std::string_view(text).substr(21)));
  EXPECT_EQ(step->sample, (ByteRange{21, 28}));
  EXPECT_TRUE(scanner->finish().ok());
}

TEST(MosaicJson, IsCutByItsOwnNewline) {
  MdsIndex index = parsed(index_text("json", kJsonColumns, "", "~~"));
  const auto format = make_mds_format(index);
  const auto cutter = format->cutter(format->fields());
  EXPECT_EQ(rows_of(*cutter, R"({"id":1,"name":"\u00e9","w":2}~~{"id":2,"name":"","w":-1e5}~~)", 2),
            "id=1 name=\xC3\xA9 w=2 line={\"id\":1,\"name\":\"\\u00e9\",\"w\":2} | "
            "id=2 name= w=-1e5 line={\"id\":2,\"name\":\"\",\"w\":-1e5} | ");
  EXPECT_EQ(*format_from_name("mosaic-json"), Format::kMosaicJson);
}

}  // namespace
}  // namespace headrace
