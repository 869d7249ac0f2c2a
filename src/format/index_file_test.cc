// SPDX-License-Identifier: Apache-2.0
#include "format/index_file.h"

#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "base/endian.h"

namespace headrace {
namespace {

// `shards` shards of `samples` samples of 100 bytes each.
std::shared_ptr<const DatasetIndex> index_of(uint64_t shards, uint64_t samples, uint64_t stride,
                                             bool crc = true) {
  std::vector<ShardEntry> entries;
  for (uint64_t s = 0; s < shards; ++s) {
    entries.push_back({.key = "train-" + std::to_string(s) + ".tar",
                       .size = 100 * samples + 7,
                       .etag = "etag" + std::to_string(s),
                       .version_id = s % 2 ? "v" : "",
                       .checksum = "crc32c:00000001"});
  }
  DatasetIndexBuilder builder(Format::kWebDataset, entries,
                              {.stride = stride, .schema_json = "{}"});
  for (uint64_t s = 0; s < shards; ++s) {
    ShardIndex found;
    found.samples = samples;
    found.fields = {{"jpg", samples}, {"cls", samples - 1}};
    for (uint64_t i = 0; i <= samples; ++i) found.borders.push_back(7 + 100 * i);
    for (uint64_t i = 0; crc && i < samples; ++i) {
      found.crcs.push_back(static_cast<uint32_t>(i * 2'654'435'761u + s));
    }
    EXPECT_TRUE(builder.add(s, std::move(found)).ok());
  }
  return *builder.finish();
}

TEST(IndexFile, ComesBackAsItWas) {
  for (bool crc : {true, false}) {
    for (uint64_t stride : {1, 8}) {
      const auto index = index_of(3, 5'001, stride, crc);
      const std::string file = encode_index(*index);
      const auto again = decode_index(as_bytes(file), {.name = index_file_name(as_bytes(file))});
      ASSERT_TRUE(again.ok()) << again.status().message();
      EXPECT_EQ(**again, *index);
    }
  }
}

// The example of docs/formats/index.md, byte by byte.
TEST(IndexFile, OfOneSampleIsTheDocumentedBytes) {
  DatasetIndexBuilder builder(Format::kWebDataset, {{.key = "a.tar", .size = 2'048, .etag = "e"}},
                              {.stride = 1, .schema_json = {}});
  ShardIndex found;
  found.samples = 1;
  found.borders = {0, 1'024};
  found.crcs = {0x12345678};
  found.fields = {{"jpg", 1}};
  ASSERT_TRUE(builder.add(0, found).ok());
  const auto index = *builder.finish();
  const std::string file = encode_index(*index);
  const auto u32 = [&](size_t at) { return load_le<uint32_t>(file.data() + at); };
  const auto u64 = [&](size_t at) { return load_le<uint64_t>(file.data() + at); };
  ASSERT_EQ(file.size(), 221u);
  EXPECT_EQ(file.substr(0, 8), "\x89HRIDX\r\n");
  EXPECT_EQ(u32(8), 1u);     // version
  EXPECT_EQ(u32(12), 124u);  // head bytes = 96 + 24 + 4
  EXPECT_EQ(u64(16), 221u);  // file bytes
  EXPECT_EQ(u32(24), 1u);    // webdataset
  EXPECT_EQ(u32(28), 1u);    // has CRCs
  EXPECT_EQ(u64(32), 1u);    // samples
  EXPECT_EQ(u64(40), 81u);   // bytes of the tables
  EXPECT_EQ(file.substr(48, 16),
            std::string(reinterpret_cast<const char*>(index->order_hash().bytes.data()), 16));
  EXPECT_EQ(file.substr(64, 16),
            std::string(reinterpret_cast<const char*>(index->identity_hash().bytes.data()), 16));
  EXPECT_EQ(u64(80), 0u);
  EXPECT_EQ(u32(88), 0u);
  EXPECT_EQ(u32(92), 1u);     // levels
  EXPECT_EQ(u64(96), 1u);     // level 0: stride
  EXPECT_EQ(u64(104), 205u);  // begins at 124 + 81
  EXPECT_EQ(u64(112), 16u);   // 8 + 4 + 4 bytes
  EXPECT_EQ(u32(120), crc32c(as_bytes(std::string_view(file).substr(0, 120))));
  EXPECT_EQ(u64(124), 1u);      // shards
  EXPECT_EQ(u64(132), 2'048u);  // size
  EXPECT_EQ(u64(140), 1u);      // samples
  EXPECT_EQ(u64(148), 0u);      // first sample's first byte
  EXPECT_EQ(u32(156), 5u);
  EXPECT_EQ(file.substr(160, 5), "a.tar");
  EXPECT_EQ(u32(165), 1u);
  EXPECT_EQ(file.substr(169, 1), "e");
  EXPECT_EQ(u32(170), 0u);  // no version id
  EXPECT_EQ(u32(174), 0u);  // no checksum
  EXPECT_EQ(u32(178), 1u);  // fields
  EXPECT_EQ(u64(182), 1u);
  EXPECT_EQ(u32(190), 3u);
  EXPECT_EQ(file.substr(194, 3), "jpg");
  // 197: schema, empty
  EXPECT_EQ(u64(205), 1'024u);
  EXPECT_EQ(u32(213), 0x12345678u);
}

TEST(IndexFile, LevelsGoFromCoarseToFineAndEachIsWhole) {
  const auto index = index_of(2, 100'001, 1);
  const std::string file = encode_index(*index);
  const auto head =
      parse_index_head(as_bytes(std::string_view(file).substr(0, kIndexHeaderBytesMax)));
  ASSERT_TRUE(head.ok());
  ASSERT_EQ(head->levels.size(), 2u);  // 200,002 strides = 2.4 MB, then 12,502 = 150 KB
  EXPECT_EQ(head->levels[0].stride, 16u);
  EXPECT_EQ(head->levels[1].stride, 1u);
  EXPECT_EQ(head->level_within(1 << 20).stride, 16u);
  EXPECT_EQ(head->level_within(UINT64_MAX).stride, 1u);
  EXPECT_EQ(head->level_within(1).stride, 16u);  // the coarsest when none fits
  const auto part = [&](ByteRange r) {
    return as_bytes(std::string_view(file).substr(r.begin, r.size()));
  };
  for (const IndexLevel& level : head->levels) {
    const auto loaded = decode_index(*head, part(head->tables), level, part(level.range));
    ASSERT_TRUE(loaded.ok()) << loaded.status().message();
    EXPECT_EQ(**loaded, index->coarsened(level.stride));
    EXPECT_EQ((*loaded)->order_hash(), index->order_hash());
  }
}

TEST(IndexFile, EverySingleBitFlipIsSeen) {
  const auto index = index_of(2, 20, 4);
  std::string file = encode_index(*index);
  for (size_t bit = 0; bit < file.size() * 8; ++bit) {
    file[bit / 8] = static_cast<char>(file[bit / 8] ^ (1 << bit % 8));
    EXPECT_FALSE(decode_index(as_bytes(file)).ok()) << bit;
    file[bit / 8] = static_cast<char>(file[bit / 8] ^ (1 << bit % 8));
  }
}

TEST(IndexFile, EveryCutIsSeenAndSoIsEveryByteMore) {
  const std::string file = encode_index(*index_of(2, 20, 4));
  for (size_t n = 0; n < file.size(); ++n) {
    EXPECT_EQ(decode_index(as_bytes(std::string_view(file).substr(0, n))).status().code(),
              Code::kCorrupt)
        << n;
  }
  EXPECT_EQ(decode_index(as_bytes(file + '\0')).status().code(), Code::kCorrupt);
}

TEST(IndexFile, CorruptAndForAnotherDataSetAreDifferentErrors) {
  const auto index = index_of(2, 20, 4);
  const std::string file = encode_index(*index);
  const Hash128 mine = index->order_hash(), other = index_of(2, 21, 4)->order_hash();
  EXPECT_TRUE(decode_index(as_bytes(file), {.order_hash = &mine}).ok());
  EXPECT_EQ(decode_index(as_bytes(file), {.order_hash = &other}).status().code(),
            Code::kPrecondition);
  EXPECT_EQ(decode_index(as_bytes(file), {.name = std::string(32, '0') + ".hridx"}).status().code(),
            Code::kCorrupt);
}

// A file that someone made by hand, with checksums that fit: only the checks on the contents are
// left.
std::string resealed(std::string file) {
  const auto head = load_le<uint32_t>(file.data() + 12);
  const auto tables = load_le<uint64_t>(file.data() + 40);
  store_le(file.data() + head - 4, crc32c(as_bytes(std::string_view(file).substr(0, head - 4))));
  store_le(file.data() + head + tables - 4,
           crc32c(as_bytes(std::string_view(file).substr(head, tables - 4))));
  return file;
}

class ForgedIndex : public ::testing::Test {
 protected:
  std::string file_ = encode_index(*index_of(1, 20, 4));

  template <class T>
  void expect(size_t at, T value, Code code, std::string_view part) {
    std::string forged = file_;
    store_le(forged.data() + at, value);
    const Status status = decode_index(as_bytes(resealed(forged))).status();
    EXPECT_EQ(status.code(), code) << status.message();
    EXPECT_NE(status.message().find(part), std::string::npos) << at << ": " << status.message();
  }
};

TEST_F(ForgedIndex, HeadIsChecked) {
  EXPECT_TRUE(decode_index(as_bytes(resealed(file_))).ok());
  expect(8, uint32_t{2}, Code::kUnsupported, "version 2, this headrace reads version 1");
  expect(16, uint64_t{1} << 40, Code::kCorrupt, "the levels end");
  expect(24, uint32_t{77}, Code::kCorrupt, "format or flags");
  expect(28, uint32_t{4}, Code::kCorrupt, "format or flags");
  expect(32, uint64_t{21}, Code::kCorrupt, "number of samples");
  expect(48, uint64_t{0}, Code::kCorrupt, "order hash");
  expect(64, uint64_t{0}, Code::kCorrupt, "identity hash");
  expect(80, uint32_t{1}, Code::kCorrupt, "reserved");
  expect(88, uint32_t{1}, Code::kCorrupt, "reserved");
  expect(92, uint32_t{0}, Code::kCorrupt, "number of levels");
  expect(92, uint32_t{6}, Code::kCorrupt, "number of levels");
  expect(96, uint64_t{3}, Code::kCorrupt, "7 strides need");  // of 3 rows, as an archive of records may have
  expect(96, uint64_t{1} << 17, Code::kCorrupt, "level 0");
  expect(104, uint64_t{0}, Code::kCorrupt, "level 0");
  expect(112, UINT64_MAX, Code::kCorrupt, "level 0");
  expect(112, uint64_t{1}, Code::kCorrupt, "the levels end");
}

TEST_F(ForgedIndex, TablesAreChecked) {
  constexpr size_t kShards = 124, kSize = 132, kSamples = 140, kBegin = 148, kKey = 156;
  expect(kShards, uint64_t{1} << 60, Code::kCorrupt, "number of shards");
  expect(kShards, uint64_t{2}, Code::kCorrupt, "");
  expect(kSize, uint64_t{100}, Code::kCorrupt, "offsets of shard 0");
  expect(kSamples, uint64_t{1} << 33, Code::kCorrupt, "numbers of shard 0");
  expect(kSamples, uint64_t{1} << 32, Code::kCorrupt, "more strides");
  expect(kSamples, uint64_t{24}, Code::kCorrupt, "strides need");
  expect(kBegin, uint64_t{5'000}, Code::kCorrupt, "numbers of shard 0");
  expect(kBegin, uint64_t{407}, Code::kCorrupt, "offsets of shard 0");
  expect(kKey, uint32_t{70'000}, Code::kCorrupt, "ends early");
  expect(kKey, uint32_t{0xFFFFFFFF}, Code::kCorrupt, "ends early");
}

TEST(IndexFileName, IsTheHashOfTheBytes) {
  // XXH3-128 of no bytes, seed 0 (xxHash's test vectors).
  EXPECT_EQ(index_file_name({}), "99aa06d3014798d86001c324468d497f.hridx");
}

TEST(EnergonIdx, IsBordersAsLittleEndianNumbers) {
  const auto index = index_of(1, 2, 1);
  const std::string want = std::string("\x07\0\0\0\0\0\0\0", 8) +
                           std::string("\x6b\0\0\0\0\0\0\0", 8) +
                           std::string("\xcf\0\0\0\0\0\0\0", 8);
  EXPECT_EQ(*encode_energon_idx(*index, 0), want);
  EXPECT_EQ(*decode_energon_idx(as_bytes(want), 207), (std::vector<uint64_t>{7, 107, 207}));
  EXPECT_EQ(encode_energon_idx(*index_of(1, 4, 2), 0).status().code(), Code::kUnsupported);
}

TEST(EnergonIdx, ThatCannotBeIsCorrupt) {
  const std::string good = *encode_energon_idx(*index_of(1, 2, 1), 0);
  EXPECT_EQ(decode_energon_idx(as_bytes(good), 206).status().code(), Code::kCorrupt);
  EXPECT_EQ(decode_energon_idx(as_bytes(good.substr(0, 23)), 207).status().code(), Code::kCorrupt);
  EXPECT_EQ(decode_energon_idx({}, 207).status().code(), Code::kCorrupt);
  EXPECT_EQ(
      decode_energon_idx(as_bytes(good.substr(0, 8) + good.substr(0, 8)), 207).status().code(),
      Code::kCorrupt);
}

}  // namespace
}  // namespace headrace
