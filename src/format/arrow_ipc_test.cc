// SPDX-License-Identifier: Apache-2.0
//
// Arrow IPC as pyarrow wrote it (tests/fixtures/hf-arrow: streams of Hugging Face's save_to_disk; litdata76-json-rows:
// files inside LitData's chunks), whole and damaged in every place.
#include "format/arrow_ipc.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/endian.h"
#include "format/litdata.h"
#include "format/testing_index.h"
#include "format/unit_table.h"

namespace headrace {
namespace {

std::string read_file(const std::string& name) {
  std::ifstream in(std::string(HR_SOURCE_DIR "/tests/fixtures/") + name, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

const std::string& stream() {
  static const std::string text = read_file("hf-arrow/data/data-00000-of-00003.arrow");
  return text;
}

// The Arrow file inside a chunk of LitData's rows.
std::string file() {
  const std::string chunk = read_file("litdata76-json-rows/data/chunk-0-0.bin");
  const size_t bytes = load_le<uint32_t>(chunk.data() + chunk.size() - 12);
  return chunk.substr(chunk.size() - 12 - bytes, bytes);
}

Result<ShardIndex> indexed(std::string_view object, uint64_t chunk = UINT64_MAX) {
  return testing::run_indexer(*make_arrow_indexer({0, object.size()}), object, chunk);
}

TEST(ArrowIndexer, FindsTheBatchesOfAStream) {
  for (uint64_t chunk : {uint64_t{1} << 30, uint64_t{7}}) {
    const auto found = indexed(stream(), chunk);
    ASSERT_TRUE(found.ok()) << found.status().message();
    EXPECT_EQ(found->samples, 27u);  // expected.jsonl: 27 + 27 + 26
    ASSERT_EQ(found->units->groups.size(), 1u);
    const UnitChunk& batch = found->units->groups[0].chunks.back();
    EXPECT_EQ(load_le<uint32_t>(stream().data() + batch.begin), UINT32_MAX);
    EXPECT_EQ(batch.end(), stream().size() - 8);
  }
}

TEST(ArrowIndexer, FindsTheBatchesOfAFile) {
  const auto found = indexed(file());
  ASSERT_TRUE(found.ok()) << found.status().message();
  EXPECT_EQ(found->samples, 25u);
}

TEST(ArrowIndexer, EveryTruncationIsAnError) {
  for (const std::string& object : {stream(), file()}) {
    for (size_t n = 0; n < object.size(); n += n < 3'000 || n + 3'000 > object.size() ? 1 : 13) {
      EXPECT_FALSE(indexed(std::string_view(object).substr(0, n)).ok()) << n;
    }
  }
}

// Heads and schemas have no checksum: a flip is an error or an index whose units lie inside the object.
TEST(ArrowIndexer, NoBitFlipLeavesTheObject) {
  for (std::string object : {stream(), file()}) {
    int errors = 0, indexes = 0;
    for (size_t bit = 0; bit < std::min<size_t>(object.size(), 6'000) * 8; ++bit) {
      object[bit / 8] = static_cast<char>(object[bit / 8] ^ (1 << bit % 8));
      const auto found = indexed(object);
      errors += !found.ok();
      indexes += found.ok();
      if (found.ok()) {
        for (const UnitGroup& group : found->units->groups) {
          for (const UnitChunk& chunk : group.chunks) EXPECT_LE(chunk.end(), object.size());
        }
        EXPECT_TRUE(UnitCodec::make(found->units->schema).ok());
      }
      object[bit / 8] = static_cast<char>(object[bit / 8] ^ (1 << bit % 8));
    }
    EXPECT_GT(errors, 100);
    RecordProperty("errors", errors);
    RecordProperty("indexes", indexes);
  }
}

TEST(ArrowSchema, FilesAreTwoFields) {
  const auto found = indexed(stream());
  const auto codec = *UnitCodec::make(found->units->schema);
  std::string text;
  for (const UnitField& f : codec->fields()) text += f.name + "=" + f.type + " ";
  EXPECT_NE(text.find("image=binary image.path=string"), std::string::npos) << text;
  EXPECT_TRUE(codec->is_arrow());
}

TEST(ArrowUnit, IsASmallStreamOfOneBatch) {
  const auto found = indexed(file());
  const auto codec = *UnitCodec::make(found->units->schema);
  const UnitGroup& group = found->units->groups[0];
  const UnitLayout layout = codec->lay_out(group, 0, group.rows, {0}, 0);
  std::vector<std::byte> buffer(layout.buffer_bytes);
  for (const UnitRead& read : layout.reads) {
    std::memcpy(buffer.data() + read.at, file().data() + read.range.begin, read.range.size());
  }
  const Bytes small = codec->small_file(group, layout, layout.parts[0], 0, group.rows, buffer);
  const auto again = indexed(as_text(small));
  ASSERT_TRUE(again.ok()) << again.status().message();
  EXPECT_EQ(again->samples, 25u);
  EXPECT_EQ(again->units->schema, found->units->schema);
}

TEST(ArrowMessage, NamesWhatItDoesNotRead) {
  EXPECT_EQ(parse_arrow_message(as_bytes("")).status().code(), Code::kCorrupt);
  EXPECT_EQ(parse_arrow_message(as_bytes(std::string(64, '\0'))).status().code(), Code::kCorrupt);
  EXPECT_EQ(UnitCodec::make(encode_arrow_schema("short")).status().code(), Code::kCorrupt);
  std::string old = stream();
  old.erase(0, 4);  // before 0.15 messages had no mark
  EXPECT_EQ(indexed(old).status().code(), Code::kUnsupported);
  std::string more = stream() + "12345678";
  EXPECT_NE(indexed(more).status().message().find("bytes follow its end mark"), std::string::npos);
  EXPECT_NE(indexed(stream().substr(0, stream().size() - 8)).status().message().find("no end mark"), std::string::npos);
  EXPECT_NE(indexed(file().substr(0, file().size() - 8)).status().message().find("does not end with ARROW1"),
            std::string::npos);
}

TEST(LitDataRows, LieBehindATableAndBeforeAMark) {
  std::string chunk = read_file("litdata76-json-rows/data/chunk-0-0.bin");
  LitDataIndex index;
  index.chunks.push_back({.basename = "c.bin", .bytes = 0, .samples = 25});
  const auto read = [&](const std::string& object, uint64_t samples) {
    index.chunks[0].samples = samples;
    const auto format = make_litdata_rows_format(index);
    return testing::run_indexer(*format->indexer(0, {.key = "c.bin", .size = object.size()}, {}), object, 100);
  };
  ASSERT_TRUE(read(chunk, 25).ok());
  EXPECT_EQ(read(chunk, 24).status().code(), Code::kCorrupt);
  for (size_t n = 0; n < chunk.size(); n += 3) EXPECT_FALSE(read(chunk.substr(0, n), 25).ok()) << n;
  store_le<uint32_t>(chunk.data() + chunk.size() - 12, UINT32_MAX);
  EXPECT_NE(read(chunk, 25).status().message().find("behind a table"), std::string::npos);
}

}  // namespace
}  // namespace headrace
