// SPDX-License-Identifier: Apache-2.0
#include "format/mds.h"

#include <gtest/gtest.h>

#include "format/testing_index.h"

namespace headrace {
namespace {

using testing::run_indexer;

// An index.json of one shard; every part can be replaced.
struct IndexText {
  std::string columns =
      R"("column_encodings":["int", "str"], "column_names":["n", "w"], "column_sizes":[8, null])";
  std::string compression = "null";
  std::string format = R"("mds")";
  std::string raw = R"({"basename": "shard.00000.mds", "bytes": 226, "hashes": {"sha1": "00ff"}})";
  std::string samples = "2";
  std::string version = "2";
  std::string zip = "null";
  std::string top_version = "2";

  std::string shard() const {
    return "{" + columns + R"(, "compression": )" + compression + R"(, "format": )" + format +
           R"(, "hashes": ["sha1"], "raw_data": )" + raw + R"(, "samples": )" + samples +
           R"(, "size_limit": 4096, "version": )" + version + R"(, "zip_data": )" + zip + "}";
  }
  std::string text() const {
    return R"({"shards": [)" + shard() + R"(], "version": )" + top_version + "}";
  }
};

void expect_failure(const std::string& text, Code code, std::string_view part) {
  const Status status = parse_mds_index(as_bytes(text)).status();
  EXPECT_EQ(status.code(), code) << status.message();
  EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
}

TEST(MdsIndex, IsRead) {
  const auto index = parse_mds_index(as_bytes(IndexText().text()));
  ASSERT_TRUE(index.ok()) << index.status().message();
  ASSERT_EQ(index->shards.size(), 1u);
  EXPECT_EQ(index->shards[0].basename, "shard.00000.mds");
  EXPECT_EQ(index->shards[0].bytes, 226u);
  EXPECT_EQ(index->shards[0].samples, 2u);
  EXPECT_EQ(index->shards[0].hashes[0].hex, "00ff");
  ASSERT_EQ(index->schema.columns.size(), 2u);
  EXPECT_EQ(index->schema.columns[0].encoding.fixed_bytes, 8u);
  EXPECT_EQ(mds_shard_entries(*index)[0].checksum, "sha1:00ff");
}

TEST(MdsIndex, OtherVersionsAreRefused) {
  expect_failure(IndexText{.version = "3"}.text(), Code::kUnsupported,
                 "/shards/0: /version: MDS version 3");
  expect_failure(IndexText{.top_version = "1"}.text(), Code::kUnsupported, "MDS version 1");
  expect_failure(IndexText{.version = "2.0"}.text(), Code::kCorrupt, "/version");
  expect_failure(IndexText{.top_version = "\"2\""}.text(), Code::kCorrupt, "/version");
  expect_failure(R"({"shards": []})", Code::kCorrupt, "/version");
}

TEST(MdsIndex, CompressedShardsAreTheirZipFiles) {
  for (const char* end : {"zstd", "gz", "br", "bz2", "snappy"}) {
    const std::string name = std::string("shard.00000.mds.") + end;
    const std::string zip = R"({"basename": ")" + name + R"(", "bytes": 55, "hashes": {"xxh64": "1f"}})";
    const auto index =
        parse_mds_index(as_bytes(IndexText{.compression = "\"" + std::string(end) + ":7\"", .zip = zip}.text()));
    ASSERT_TRUE(index.ok()) << index.status().message();
    EXPECT_EQ(index->shards[0].basename, "shard.00000.mds");
    EXPECT_EQ(index->shards[0].zip_basename, name);
    const auto entries = mds_shard_entries(*index);
    EXPECT_EQ(entries[0].key, name);
    EXPECT_EQ(entries[0].size, 55u);
    EXPECT_EQ(entries[0].samples, 2u);
    EXPECT_EQ(entries[0].checksum, "xxh64:1f");
  }
}

TEST(MdsIndex, CompressionsThatDoNotFitAreRefused) {
  const auto zip = [](const std::string& name) { return R"({"basename": ")" + name + R"(", "bytes": 1})"; };
  expect_failure(IndexText{.compression = "\"zstd:7\""}.text(), Code::kCorrupt, "/zip_data");
  expect_failure(IndexText{.zip = zip("a.zstd")}.text(), Code::kCorrupt, "/compression");
  expect_failure(IndexText{.compression = "\"lz4\"", .zip = zip("a.lz4")}.text(), Code::kUnsupported,
                 "/compression: \"lz4\", known are br, bz2, gz, snappy and zstd");
  expect_failure(IndexText{.compression = "\"gz\"", .zip = zip("a.zstd")}.text(), Code::kCorrupt,
                 "is not named as gz files are");
  expect_failure(IndexText{.compression = "\"gz\"", .zip = zip("../a.gz")}.text(), Code::kCorrupt,
                 "/zip_data/basename");
}

TEST(MdsIndex, OtherFormatsAreRefused) {
  expect_failure(IndexText{.format = "\"zip\""}.text(), Code::kCorrupt, "/format");
  expect_failure(IndexText{.format = "7"}.text(), Code::kCorrupt, "/format");
}

TEST(MdsIndex, BasenamesStayBelowTheRoot) {
  const auto with = [](const std::string& name) {
    return IndexText{.raw = R"({"basename": ")" + name + R"(", "bytes": 1, "hashes": {}})"}.text();
  };
  EXPECT_EQ(parse_mds_index(as_bytes(with("part0/sub/shard.00000.mds")))->shards[0].basename,
            "part0/sub/shard.00000.mds");
  for (const char* name : {"", "/abs.mds", "../up.mds", "a/../b.mds", "a//b.mds", "./a.mds", "a/",
                           "..", "a\\\\b", "a\\u0000b", "a\\u001b[2Jb"}) {
    expect_failure(with(name), Code::kCorrupt, "/raw_data/basename");
  }
  const Status status = parse_mds_index(as_bytes(with("../\\u001b[2J"))).status();
  EXPECT_EQ(status.message().find('\x1b'), std::string::npos);  // no control characters in messages
}

TEST(MdsIndex, WrongTypesNameTheirPlace) {
  expect_failure(IndexText{.samples = "-1"}.text(), Code::kCorrupt, "/shards/0: /samples");
  expect_failure(IndexText{.samples = "1e3"}.text(), Code::kCorrupt, "/samples");
  expect_failure(IndexText{.samples = "4294967296"}.text(), Code::kCorrupt, "/samples");
  expect_failure(IndexText{.samples = "99999999999999999999"}.text(), Code::kCorrupt, "/samples");
  expect_failure(IndexText{.raw = "null"}.text(), Code::kCorrupt, "/raw_data");
  expect_failure(IndexText{.raw = R"({"basename": "a", "bytes": "1"})"}.text(), Code::kCorrupt,
                 "/bytes");
  expect_failure(IndexText{.raw = R"({"basename": "a", "bytes": 1, "hashes": [1]})"}.text(),
                 Code::kCorrupt, "hashes");
  expect_failure(IndexText{.raw = R"({"basename": "a", "bytes": 1, "hashes": {"sha1": 5}})"}.text(),
                 Code::kCorrupt, "hashes");
}

TEST(MdsIndex, ColumnListsMustAgree) {
  const auto with = [](const std::string& e, const std::string& n, const std::string& s) {
    return IndexText{.columns = "\"column_encodings\": " + e + ", \"column_names\": " + n +
                                ", \"column_sizes\": " + s}
        .text();
  };
  expect_failure(with("[\"int\"]", "[\"a\", \"b\"]", "[8, 8]"), Code::kCorrupt,
                 "not three lists of one length");
  expect_failure(with("[\"int\"]", "[\"a\"]", "[]"), Code::kCorrupt,
                 "not three lists of one length");
  expect_failure(with("[\"int\"]", "[\"a\"]", "[4]"), Code::kCorrupt, "/column_sizes does not fit");
  expect_failure(with("[\"int\"]", "[\"a\"]", "[null]"), Code::kCorrupt,
                 "/column_sizes does not fit");
  expect_failure(with("[\"str\"]", "[\"a\"]", "[8]"), Code::kCorrupt, "/column_sizes does not fit");
  expect_failure(with("[\"int\", \"int\"]", "[\"a\", \"a\"]", "[8, 8]"), Code::kCorrupt,
                 "listed twice");
  expect_failure(with("[5]", "[\"a\"]", "[8]"), Code::kCorrupt, "/column_encodings");
  expect_failure(with("[]", "[]", "[]"), Code::kCorrupt, "/column_names");
  expect_failure(with("[\"pkl\"]", "[\"a\"]", "[null]"), Code::kUnsupported, "never executed");
  // A size of 0 is written for variable columns by some writers.
  EXPECT_TRUE(parse_mds_index(as_bytes(with("[\"str\"]", "[\"a\"]", "[0]"))).ok());
}

TEST(MdsIndex, ShardsWithOtherColumnsAreRefused) {
  IndexText other;
  other.columns =
      R"("column_encodings":["int", "bytes"], "column_names":["n", "w"], "column_sizes":[8, null])";
  expect_failure(R"({"version": 2, "shards": [)" + IndexText().shard() + "," + other.shard() + "]}",
                 Code::kUnsupported, "/shards/1: its columns differ");
}

TEST(MdsIndex, WhatIsNoIndexIsCorrupt) {
  for (const char* text :
       {"", "null", "[]", "{", "{\"version\": 2}", "{\"version\": 2, \"shards\": {}}",
        "{\"version\": 2, \"shards\": [1]}", "{\"version\": 2, \"shards\": [[]]}",
        "{\"version\": 2, \"shards\": null}", "\xff\xfe{}",
        "{\"version\": 2, \"version\": 2, \"shards\": []}"}) {
    expect_failure(text, Code::kCorrupt, "read index.json");
  }
  expect_failure(IndexText().text() + "x", Code::kCorrupt, "not valid JSON");
  expect_failure("{\"version\": 2, \"shards\": []}", Code::kUnsupported, "no shards");
}

TEST(MdsIndex, ObjectsBesideTheShardListAreNoShards) {
  const std::string text = R"({"extra": [)" + IndexText().shard() + R"(], "shards": [)" +
                           IndexText().shard() + R"(], "version": 2})";
  const auto index = parse_mds_index(as_bytes(text));
  ASSERT_TRUE(index.ok()) << index.status().message();
  EXPECT_EQ(index->shards.size(), 1u);
}

TEST(MdsIndex, DepthAndKeysAreBounded) {
  expect_failure(
      "{\"version\": 2, \"shards\": " + std::string(100'000, '[') + std::string(100'000, ']') + "}",
      Code::kCorrupt, "nested deeper");
  std::string keys;
  for (int i = 0; i < 100; ++i) keys += "\"k" + std::to_string(i) + "\": 1, ";
  expect_failure("{" + keys + "\"version\": 2}", Code::kCorrupt, "more than 64 keys");
}

TEST(MdsEncoding, EveryOneOfTheRegistryIsKnown) {
  // mosaicml-streaming 0.13, streaming/base/format/mds/encodings.py, without pkl.
  for (const char* name :
       {"bytes",     "str",         "int",       "uint8",         "uint16",
        "uint32",    "uint64",      "int8",      "int16",         "int32",
        "int64",     "float16",     "float32",   "float64",       "str_int",
        "str_float", "str_decimal", "ndarray",   "ndarray:uint8", "ndarray:float64:1",
        "pil",       "jpeg",        "png",       "jpeg_array",    "jpegarray",
        "list[pil]", "list[jpeg]",  "list[png]", "json"}) {
    const auto encoding = parse_mds_encoding(name);
    ASSERT_TRUE(encoding.ok()) << name;
    EXPECT_EQ(encoding->name, name);
  }
  EXPECT_EQ(parse_mds_encoding("int")->dtype, MdsDtype::kInt64);
  EXPECT_EQ(parse_mds_encoding("int")->fixed_bytes, 8u);
  EXPECT_EQ(parse_mds_encoding("float16")->fixed_bytes, 2u);
  const auto array = parse_mds_encoding("ndarray:int16:3,4");
  EXPECT_EQ(array->fixed_bytes, 24u);
  EXPECT_EQ(array->shape, (std::vector<uint64_t>{3, 4}));
  EXPECT_EQ(parse_mds_encoding("ndarray:int16")->fixed_bytes, 0u);
}

TEST(MdsEncoding, OthersAreUnsupported) {
  const std::string many_dims = [] {
    std::string text = "ndarray:uint8:1";
    for (int i = 0; i < 63; ++i) text += ",1";
    return text;
  }();
  for (const std::string& name :
       {std::string("pkl"), std::string(""), std::string("Str"), std::string("bfloat16"),
        std::string("str:5"), std::string("ndarray:"), std::string("ndarray:bool"),
        std::string("ndarray:int8:"), std::string("ndarray:int8:0"), std::string("ndarray:int8:3,"),
        std::string("ndarray:int8:-3"), std::string("ndarray:int8:65536,65536"),
        std::string("ndarray:int64:99999999999999999999"), many_dims}) {
    EXPECT_EQ(parse_mds_encoding(name).status().code(), Code::kUnsupported) << name;
  }
}

TEST(MdsNdarray, OfAnyShapeSizeWidthIsRead) {
  const MdsEncoding dynamic = *parse_mds_encoding("ndarray"),
                    typed = *parse_mds_encoding("ndarray:int16");
  // dtype int16 = 17; head = ndim << 2 | k; two dims of 1 byte, then of 8 bytes.
  const std::string values("\1\0\2\0\3\0\4\0\5\0\6\0", 12);
  const std::string narrow = std::string("\x08\x02\x03", 3) + values;
  const std::string wide = std::string("\x0b\2\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0", 17) + values;
  for (const std::string& stored : {narrow, wide}) {
    const auto array = read_mds_ndarray(as_bytes(stored), typed);
    ASSERT_TRUE(array.ok());
    EXPECT_EQ(array->ndim, 2u);
    EXPECT_EQ(array->shape[0], 2u);
    EXPECT_EQ(array->shape[1], 3u);
    EXPECT_EQ(as_text(array->values), values);
    EXPECT_EQ(read_mds_ndarray(as_bytes("\x11" + stored), dynamic)->dtype, MdsDtype::kInt16);
  }
  const auto fixed = read_mds_ndarray(as_bytes(values), *parse_mds_encoding("ndarray:int16:3,2"));
  ASSERT_TRUE(fixed.ok());
  EXPECT_EQ(fixed->shape[0], 3u);
}

TEST(MdsNdarray, ThatDoesNotFitItsBytesIsCorrupt) {
  const auto code = [](std::string_view stored, const char* encoding) {
    return read_mds_ndarray(as_bytes(stored), *parse_mds_encoding(encoding)).status().code();
  };
  using namespace std::string_view_literals;
  EXPECT_EQ(code("", "ndarray"), Code::kCorrupt);
  EXPECT_EQ(code("\x05", "ndarray"), Code::kCorrupt);            // no such dtype
  EXPECT_EQ(code("\x11", "ndarray"), Code::kCorrupt);            // no shape
  EXPECT_EQ(code("\x08\x02", "ndarray:int16"), Code::kCorrupt);  // ends inside the shape
  EXPECT_EQ(code("\x04\x02\1\0\2"sv, "ndarray:int16"), Code::kCorrupt);
  EXPECT_EQ(code("\x04\x02\1\0\2\0\3"sv, "ndarray:int16"), Code::kCorrupt);
  EXPECT_EQ(code("\x0b\xff\xff\xff\xff\xff\xff\xff\xff\2\0\0\0\0\0\0\0"sv, "ndarray:uint8"),
            Code::kCorrupt);  // overflow
  EXPECT_EQ(code("\1\2\3", "ndarray:uint8:4"), Code::kCorrupt);
}

// The vector of docs/formats/mds.md: columns n:int, w:str, samples (7, "hi") and (-1, "yo!").
const std::string kTwoSamples = std::string("\2\0\0\0\7\0\0\0\0\0\0\0hi", 14) +
                                std::string("\3\0\0\0\xff\xff\xff\xff\xff\xff\xff\xffyo!", 15);
std::string shard_text(const std::string& config = "{}") {
  std::string out;
  const auto u32 = [&](uint64_t n) {
    for (int shift : {0, 8, 16, 24}) out += static_cast<char>(n >> shift);
  };
  const uint64_t first = 16 + config.size();
  for (uint64_t n : {uint64_t{2}, first, first + 14, first + 29}) u32(n);
  return out + config + kTwoSamples;
}
MdsSchema schema() {
  return {{{"n", *parse_mds_encoding("int")}, {"w", *parse_mds_encoding("str")}}};
}

Result<ShardIndex> index_mds(const std::string& shard, uint64_t samples = 2, uint64_t stated = 0,
                             IndexerOptions options = {}) {
  const MdsShard entry{.basename = "s.mds",
                       .bytes = stated ? stated : shard.size(),
                       .samples = samples,
                       .hashes = {}};
  return run_indexer(*make_mds_indexer(entry, schema(), shard.size(), options), shard, 1 << 20);
}

TEST(MdsShard, IsIndexedAndCut) {
  const std::string shard = shard_text();
  const auto found = index_mds(shard);
  ASSERT_TRUE(found.ok()) << found.status().message();
  EXPECT_EQ(found->borders, (std::vector<uint64_t>{18, 32, 47}));
  EXPECT_EQ(found->fields, (std::vector<FieldEntry>{{"n", 2}, {"w", 2}}));
  SampleBatchView batch;
  const MdsCutter cutter(schema());
  ASSERT_TRUE(cutter.cut(as_bytes(kTwoSamples), 2, batch).ok());
  EXPECT_EQ(as_text(batch[0].find("w")->bytes), "hi");
  EXPECT_EQ(as_text(batch[1].find("w")->bytes), "yo!");
  EXPECT_EQ(as_text(batch[1].fields[0].bytes), std::string(8, '\xff'));
  EXPECT_EQ(batch[1].fields[1].id, 1u);
  EXPECT_EQ(batch[1].key, "");
}

TEST(MdsShard, WithoutCrcOnlyTheOffsetsAreAskedFor) {
  const std::string shard = shard_text(std::string(5'000, ' '));
  const auto indexer =
      make_mds_indexer({.basename = "s", .bytes = shard.size(), .samples = 2, .hashes = {}},
                       schema(), shard.size(), {.crc = false});
  auto step = indexer->next({});
  ASSERT_TRUE(step.ok());
  EXPECT_EQ(step->need, (ByteRange{0, 16}));
  step = indexer->next(as_bytes(std::string_view(shard).substr(0, 16)));
  ASSERT_TRUE(step.ok() && step->done);
  EXPECT_EQ(step->done->samples, 2u);
  EXPECT_TRUE(step->done->crcs.empty());
}

TEST(MdsShard, ThatDisagreesWithIndexJsonIsCorrupt) {
  const std::string shard = shard_text();
  const auto expect = [](const Result<ShardIndex>& found, std::string_view part) {
    EXPECT_EQ(found.status().code(), Code::kCorrupt);
    EXPECT_NE(found.status().message().find(part), std::string::npos) << found.status().message();
  };
  expect(index_mds(shard, 2, 48), "the object has 47 bytes, index.json says 48");
  expect(index_mds(shard, 3), "it has 2 samples, index.json says 3");
  expect(index_mds(shard, 1000), "cannot hold the offsets of 1000 samples");
  std::string bad = shard;
  bad[4] = 15;
  expect(index_mds(bad), "sample 0 begins at byte 15, inside the offsets");
  bad = shard;
  bad[8] = 18;
  expect(index_mds(bad), "sample 0 has the offsets 18 and 18");
  expect(index_mds(shard + "x"), "samples end at byte 47, the object has 48");
}

TEST(MdsShard, IndexerRefusesMoreBytesThanItAskedFor) {
  const auto indexer =
      make_mds_indexer({.basename = "s", .bytes = 47, .samples = 2, .hashes = {}}, schema(), 47);
  EXPECT_EQ(indexer->next(as_bytes(shard_text() + "x")).status().code(), Code::kInvalidArgument);
}

TEST(MdsCutter, NamesTheRowThatDoesNotFit) {
  const MdsCutter cutter(schema());
  SampleBatchView batch;
  const auto expect = [&](std::string_view bytes, uint64_t rows, std::string_view part) {
    const Status status = cutter.cut(as_bytes(bytes), rows, batch);
    EXPECT_EQ(status.code(), Code::kCorrupt);
    EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
    EXPECT_TRUE(batch.empty());
  };
  expect(kTwoSamples, 1, "row 0: 15 bytes are left");
  expect(kTwoSamples, 3, "row 2: the bytes end inside its column sizes");
  expect(std::string_view(kTwoSamples).substr(0, 28), 2,
         "row 1: column \"w\" has 3 bytes, 2 are left");
  expect(std::string(12, '\xff'), 1, "row 0: column \"w\" has 4294967295 bytes, 0 are left");
}

TEST(MdsSchema, SurvivesItsText) {
  const auto again = MdsSchema::from_json(schema().json());
  ASSERT_TRUE(again.ok()) << again.status().message();
  EXPECT_EQ(again->columns[0].name, "n");
  EXPECT_EQ(again->columns[1].encoding.kind, MdsKind::kStr);
  EXPECT_EQ(MdsSchema::from_json("[]").status().code(), Code::kCorrupt);
  EXPECT_EQ(MdsSchema::from_json("{}").status().code(), Code::kCorrupt);
  EXPECT_EQ(MdsSchema::from_json(R"({"column_names": ["a"], "column_encodings": ["pkl"]})")
                .status()
                .code(),
            Code::kUnsupported);
}

TEST(MdsHash, KnownValuesAreAcceptedOthersAreNot) {
  // python-xxhash 3: xxh32/xxh64/xxh3_64/xxh3_128 of b"hello"; xxh3_64 is also in
  // mosaicml-streaming's tests.
  for (const MdsFileHash& hash :
       {MdsFileHash{"xxh3_64", "9555e8555c62dcfd"}, MdsFileHash{"xxh32", "fb0077f9"},
        MdsFileHash{"xxh64", "26c7827d889f6da3"},
        MdsFileHash{"xxh128", "b5e9c1ad071b3e7fc779cfaa5e523818"},
        MdsFileHash{"xxh3_128", "b5e9c1ad071b3e7fc779cfaa5e523818"}}) {
    auto check = MdsHashCheck::make(hash);
    ASSERT_TRUE(check.ok()) << hash.algorithm;
    (*check)->update(as_bytes("he"));
    (*check)->update(as_bytes("llo"));
    EXPECT_TRUE((*check)->finish().ok()) << (*check)->finish().message();
    check = MdsHashCheck::make(hash);
    (*check)->update(as_bytes("hellO"));
    EXPECT_EQ((*check)->finish().code(), Code::kCorrupt);
  }
  for (const char* name : {"sha1", "sha256", "md5", ""}) {
    EXPECT_EQ(MdsHashCheck::make({name, "00"}).status().code(), Code::kUnsupported);
  }
}

}  // namespace
}  // namespace headrace
