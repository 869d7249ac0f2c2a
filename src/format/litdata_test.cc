// SPDX-License-Identifier: Apache-2.0
//
// LitData: what index.json says, how items come apart, which are refused. Heads of arrays are those
// of litdata/streaming/serializers.py, byte by byte.
#include "format/litdata.h"

#include <gtest/gtest.h>

#include "base/endian.h"
#include "format/decoder.h"
#include "format/testing_index.h"

namespace headrace {
namespace {

using testing::run_indexer;
using namespace std::literals;

// {"n": int, "deep": [str, {"x": numpy}]}
const std::string kLeaf = R"({\"type\": null, \"context\": null, \"children_spec\": []})";
const std::string kSpec =
    R"([1, {\"type\": \"builtins.dict\", \"context\": \"[\\\"n\\\", \\\"deep\\\"]\", \"children_spec\": [)" +
    kLeaf + R"(, {\"type\": \"builtins.list\", \"context\": \"null\", \"children_spec\": [)" + kLeaf +
    R"(, {\"type\": \"builtins.dict\", \"context\": \"[\\\"x\\\"]\", \"children_spec\": [)" + kLeaf +
    "]}]}]}]";
const std::string kBare = R"([1, {\"type\": null, \"context\": null, \"children_spec\": []}])";

std::string index_text(const std::string& formats, const std::string& spec,
                       const std::string& more = "", const std::string& file = "chunk-0-0.bin") {
  return R"({"chunks": [{"chunk_bytes": 53, "chunk_size": 2, "dim": null, "filename": ")" + file +
         R"("}], "config": {"chunk_size": 2, "data_format": )" + formats + R"(, "data_spec": ")" +
         spec + "\"" + more + R"(}, "updated_at": "1"})";
}
void expect_failure(const std::string& text, Code code, std::string_view part) {
  const Status status = parse_litdata_index(as_bytes(text)).status();
  EXPECT_EQ(status.code(), code) << status.message();
  EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
}

TEST(LitDataIndex, NamesLeavesByTheirPaths) {
  const std::string text = index_text(R"(["int", "str", "numpy"])", kSpec);
  EXPECT_TRUE(is_litdata_index(text));
  EXPECT_FALSE(is_litdata_index(R"({"version": 2, "shards": []})"));
  const auto index = parse_litdata_index(as_bytes(text));
  ASSERT_TRUE(index.ok()) << index.status().message();
  std::string names;
  for (const MdsColumn& c : index->columns) names += c.name + "=" + c.encoding.name + " ";
  EXPECT_EQ(names, "n=int64 deep.0=str deep.1.x=ndarray ");
  EXPECT_EQ(index->chunks[0].samples, 2u);
  EXPECT_EQ(litdata_entries(*index)[0].key, "chunk-0-0.bin");
  EXPECT_EQ(parse_litdata_index(as_bytes(index_text(R"(["str"])", kBare)))->columns[0].name,
            "value");
  const auto again = LitDataIndex::from_schema(index->schema_json());
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->schema_json(), index->schema_json());
  EXPECT_EQ((*shard_format(Format::kLitData, index->schema_json()))->columns().size(), 3u);
}

TEST(LitDataIndex, WhatIsNotReadIsRefusedByName) {
  const std::string one = R"(["str"])";
  expect_failure(index_text(one, kBare, R"(, "encryption": {"algorithm": "fernet"})"),
                 Code::kUnsupported, "encryption");
  expect_failure(index_text(one, kBare, R"(, "item_loader": "ParquetLoader")"), Code::kUnsupported,
                 "ParquetLoader");
  expect_failure(index_text(one, kBare, R"(, "compression": "lz4")"), Code::kUnsupported, "compression \"lz4\"");
  expect_failure(index_text(one, kBare, R"(, "item_loader": "TokensLoader", "compression": "zstd",)"
                                        R"( "compression_level": "batch")"),
                 Code::kUnsupported, "tokens in frames");
  expect_failure(index_text(one, kBare, R"(, "compression": "zstd")"), Code::kUnsupported,
                 "is not named as");
  expect_failure(index_text(one, kBare, "", "chunk-0-0.zstd.bin"), Code::kUnsupported,
                 "is named as compressed");
  expect_failure(index_text(one, kBare, "", "../x.bin"), Code::kCorrupt, "/chunks/0");
  expect_failure(index_text(R"(["str", "str"])", kBare), Code::kCorrupt,
                 "1 leaves, data_format has 2");
  expect_failure(index_text("[]", kBare), Code::kCorrupt, "/data_format");
  expect_failure(index_text(one, "[2]"), Code::kCorrupt, "[1, node]");
  expect_failure(index_text(one, "[1, 2]"), Code::kCorrupt, "a node is needed");
  expect_failure(index_text(one, R"([1, {\"type\": null}])"), Code::kCorrupt, "children_spec");
  expect_failure(index_text(R"(["no_header_numpy"])", kBare), Code::kCorrupt, "a dtype is needed");
  expect_failure(R"({"chunks": [], "config": {}})", Code::kCorrupt, "/chunks");
  expect_failure(R"({"chunks": [{}]})", Code::kCorrupt, "/config");
  expect_failure("[]", Code::kCorrupt, "an object");
  std::string deep = R"({\"type\": null, \"context\": null, \"children_spec\": []})";
  for (int i = 0; i < 20; ++i)
    deep = R"({\"type\": \"builtins.list\", \"context\": \"null\", \"children_spec\": [)" + deep +
           "]}";
  expect_failure(index_text(one, "[1, " + deep + "]"), Code::kCorrupt, "nested too deep");
}

// The chunk of reference/: {"n": 7, "w": "hi"} and {"n": -1, "w": "yo!"}, 53 bytes.
const std::string kChunk =
    "\2\0\0\0\x10\0\0\0\x22\0\0\0\x35\0\0\0"
    "\x08\0\0\0\x02\0\0\0\x07\0\0\0\0\0\0\0hi"
    "\x08\0\0\0\x03\0\0\0\xff\xff\xff\xff\xff\xff\xff\xffyo!"s;

LitDataIndex two_leaves() {
  LitDataIndex index =
      *LitDataIndex::from_schema(R"({"leaves": ["n", "w"], "data_format": ["int", "str"]})");
  index.chunks.push_back({.basename = "c.bin", .bytes = 0, .samples = 2});
  return index;
}

TEST(LitDataChunk, IsIndexedScannedAndCut) {
  const auto format = make_litdata_format(two_leaves());
  ShardEntry entry;
  entry.size = kChunk.size();
  const auto found = run_indexer(*format->indexer(0, entry, {}), kChunk, 9);
  ASSERT_TRUE(found.ok()) << found.status().message();
  EXPECT_EQ(found->borders, (std::vector<uint64_t>{16, 34, 53}));
  for (size_t row : {0, 1}) {
    const uint64_t begin = row == 0 ? 0 : 34;
    const auto scanner = format->scanner(0, {begin, row, 1 << 20});
    std::vector<ByteRange> samples;
    for (uint64_t at = begin; at < kChunk.size();) {
      const auto got = scanner->next(as_bytes(std::string_view(kChunk).substr(at, 5)));
      ASSERT_TRUE(got.ok()) << got.status().message();
      at += got->used;
      if (got->sample) samples.push_back(*got->sample);
    }
    EXPECT_TRUE(scanner->finish().ok());
    EXPECT_EQ(samples.size(), 2 - row);
    EXPECT_EQ(samples.back(), (ByteRange{34, 53}));
  }
  SampleBatchView view;
  const auto cutter = format->cutter({});
  ASSERT_TRUE(cutter->cut(as_bytes(std::string_view(kChunk).substr(16)), 2, view).ok());
  EXPECT_EQ(load_le<int64_t>(view[1].fields[0].bytes.data()), -1);
  EXPECT_EQ(as_text(view[1].fields[1].bytes), "yo!");
}

TEST(LitDataChunk, EveryCutIsFound) {
  const auto format = make_litdata_format(two_leaves());
  const auto cutter = format->cutter({});
  SampleBatchView view;
  for (size_t n = 0; n < kChunk.size(); ++n) {
    const std::string part = kChunk.substr(0, n);
    ShardEntry entry;
    entry.size = n;
    EXPECT_FALSE(run_indexer(*format->indexer(0, entry, {}), part, 9).ok()) << n;
    const auto scanner = format->scanner(0, {0, 0, 1 << 20});
    bool good = true;
    for (size_t at = 0; good && at < n;) {
      const auto got = scanner->next(as_bytes(std::string_view(part).substr(at)));
      good = got.ok();
      if (good) at += got->used;
    }
    EXPECT_FALSE(good && scanner->finish().ok()) << n;
    if (n < 16) continue;
    EXPECT_EQ(cutter->cut(as_bytes(std::string_view(part).substr(16)), 2, view).code(),
              Code::kCorrupt);
    EXPECT_TRUE(view.empty());
  }
  const std::string more = kChunk + "x";
  EXPECT_EQ(cutter->cut(as_bytes(std::string_view(more).substr(16)), 2, view).code(),
            Code::kCorrupt);
}

// One leaf; what the column's encoding makes of it, or "missing".
std::string array_of(const std::string& stored_as, const std::string& leaf) {
  LitDataIndex index =
      *LitDataIndex::from_schema(R"({"leaves": ["x"], "data_format": [")" + stored_as + "\"]}");
  std::string item(4, '\0');
  store_le<uint32_t>(item.data(), static_cast<uint32_t>(leaf.size()));
  item += leaf;
  const MdsEncoding encoding = index.columns[0].encoding;
  const LitDataCutter cutter(index);
  SampleBatchView view;
  EXPECT_TRUE(cutter.cut(as_bytes(item), 1, view).ok());
  if (view[0].fields.empty()) return "missing";
  if (encoding.kind == MdsKind::kBytes) return "bytes";
  const auto array = read_mds_ndarray(view[0].fields[0].bytes, encoding);
  EXPECT_TRUE(array.ok()) << array.status().message();
  std::string text(mds_dtype_name(array->dtype));
  for (uint32_t d = 0; d < array->ndim; ++d) text += " " + std::to_string(array->shape[d]);
  return text + ":" + std::string(as_text(array->values));
}

TEST(LitDataLeaf, ArraysSayDtypeAndShape) {
  EXPECT_EQ(array_of("numpy", "\5\0\0\0\2\0\0\0\1\0\0\0\3\0\0\0aabbcc"s), "uint16 1 3:aabbcc");
  EXPECT_EQ(array_of("numpy", "\4\0\0\0\0\0\0\0z"s), "uint8:z");  // no dimension
  EXPECT_EQ(array_of("tensor", "\0\0\0\x10\0\0\0\1\0\0\0\1abcd"s),
            "int32 1:abcd");  // as 0.2.76 does
  EXPECT_EQ(array_of("tensor", "\0\0\0\x0b\0\0\0\1\0\0\0\0"s), "uint8 0:");
  EXPECT_EQ(array_of("tensor", "\x10\0\0\0\1\0\0\0\1\0\0\0abcd"s),
            "int32 1:abcd");  // as 0.2.55 writes it
  EXPECT_EQ(array_of("no_header_numpy:1", "aabb"), "int16 2:aabb");
  EXPECT_EQ(array_of("no_header_tensor:1", "aaaabbbb"), "float32 2:aaaabbbb");
  EXPECT_EQ(array_of("no_header_tensor:10", "aabb"), "bytes");  // bfloat16
  EXPECT_EQ(litdata_column("x", "pickle").status().code(), Code::kUnsupported);        // never run
  EXPECT_EQ(litdata_column("x", "graph:pickle").status().code(), Code::kUnsupported);
  for (const std::string& bad :
       {"\5\0\0\0\1\0\0\0\3\0\0\0aabb"s, "\5\0\0\0\1\0\0\0"s, "\x0e\0\0\0\0\0\0\0"s, "\5\0\0"s,
        "\5\0\0\0\x40\0\0\0"s, "\5\0\0\0\2\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"s}) {
    EXPECT_EQ(array_of("numpy", bad), "missing");
  }
  EXPECT_EQ(array_of("no_header_numpy:1", "abc"), "missing");
}

TEST(LitDataNames, SayTheCompression) {
  EXPECT_EQ(compression_of_key("a/chunk-0-0.zstd.bin"), Compression::kZstd);
  EXPECT_EQ(compression_of_key("a/chunk-0-0.zstd:7.bin"), Compression::kZstd);
  EXPECT_EQ(compression_of_key("a/chunk-0-0.bin"), Compression::kNone);
  EXPECT_EQ(without_compression("chunk-0-0.zstd:7.bin"), "chunk-0-0.bin");
}

}  // namespace
}  // namespace headrace
