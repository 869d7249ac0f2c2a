// SPDX-License-Identifier: Apache-2.0
//
// Parts of an index, what is taken from an earlier index and what is not, and the reading ahead of a big shard.
#include "loader/index_parts.h"

#include <gtest/gtest.h>

#include "loader/chunk_reader.h"
#include "loader/manifest_check.h"
#include "store/memory_store.h"
#include "store/record_store.h"
#include "store/test_loop.h"

namespace headrace {
namespace {

std::shared_ptr<const ShardFormat> tar() { return make_webdataset_format(); }

ShardEntry entry(const std::string& key, const std::string& etag, uint64_t size = 1000) {
  ShardEntry out;
  out.key = key;
  out.size = size;
  out.etag = etag;
  return out;
}

ShardIndex two_samples() {
  ShardIndex found;
  found.samples = 2;
  found.borders = {0, 300, 700};
  found.crcs = {7, 8};
  found.fields = {{"jpg", 2}};
  found.checksum = "crc32c:00000001";
  return found;
}

std::shared_ptr<const DatasetIndex> index_of(std::vector<ShardEntry> shards, bool crc = true, uint64_t jpgs = 2) {
  DatasetIndexBuilder builder(Format::kWebDataset, shards, {1, ""});
  for (size_t s = 0; s < shards.size(); ++s) {
    ShardIndex found = two_samples();
    found.fields[0].samples = jpgs;
    if (!crc) found.crcs.clear();
    EXPECT_TRUE(builder.add(s, std::move(found)).ok());
  }
  return *builder.finish();
}

TEST(IndexPart, GivesBackWhatWasPutIn) {
  const ShardEntry shard = entry("a.tar", "e1");
  auto part = encode_index_part(*tar(), shard, two_samples());
  ASSERT_TRUE(part.ok());
  auto found = decode_index_part(as_bytes(*part), shard);
  ASSERT_TRUE(found.ok()) << found.status().message();
  EXPECT_EQ(found->borders, (std::vector<uint64_t>{0, 300, 700}));
  EXPECT_EQ(found->crcs, (std::vector<uint32_t>{7, 8}));
  EXPECT_EQ(found->fields, (std::vector<FieldEntry>{{"jpg", 2}}));
  EXPECT_EQ(found->checksum, "crc32c:00000001");
}

TEST(IndexPart, OfAnotherStateIsRefusedByNameAndByContent) {
  const ShardEntry was = entry("a.tar", "e1"), now = entry("a.tar", "e2");
  EXPECT_NE(index_part_name(*tar(), was, true), index_part_name(*tar(), now, true));
  EXPECT_NE(index_part_name(*tar(), was, true), index_part_name(*tar(), was, false));
  auto part = encode_index_part(*tar(), was, two_samples());
  const auto found = decode_index_part(as_bytes(*part), now);
  EXPECT_EQ(found.status().code(), Code::kPrecondition);
  EXPECT_NE(found.status().message().find("e2"), std::string::npos);
  part->at(40) ^= 1;
  EXPECT_EQ(decode_index_part(as_bytes(*part), was).status().code(), Code::kCorrupt);
}

TEST(EarlierIndex, GivesShardsThatAreTheSame) {
  const EarlierIndex earlier(index_of({entry("b", "e1"), entry("a", "e2")}), *tar(), true);
  ASSERT_TRUE(earlier.usable());
  EXPECT_EQ(earlier.find(entry("a", "e2")), 1u);
  EXPECT_EQ(earlier.find(entry("a", "e3")), std::nullopt);
  EXPECT_EQ(earlier.find(entry("a", "e2", 999)), std::nullopt);
  EXPECT_EQ(earlier.find(entry("c", "e2")), std::nullopt);
  EXPECT_EQ(earlier.take(1).borders, (std::vector<uint64_t>{0, 300, 700}));
  EXPECT_EQ(earlier.take(1).fields, (std::vector<FieldEntry>{{"jpg", 2}}));
}

TEST(EarlierIndex, IsNotUsedWhereItCannotSayAllOrIsOfSomethingElse) {
  const auto without_etag = EarlierIndex(index_of({entry("a", "")}), *tar(), true);
  EXPECT_EQ(without_etag.find(entry("a", "")), std::nullopt);
  EXPECT_FALSE(EarlierIndex(index_of({entry("a", "e")}, true, 1), *tar(), true).usable());  // a sample without jpg
  EXPECT_FALSE(EarlierIndex(index_of({entry("a", "e")}, false), *tar(), true).usable());    // no checksums
  EXPECT_TRUE(EarlierIndex(index_of({entry("a", "e")}, false), *tar(), false).usable());
  EXPECT_FALSE(EarlierIndex(index_of({entry("a", "e")}), **shard_format(Format::kTfRecord, ""), true).usable());
  EXPECT_FALSE(EarlierIndex(nullptr, *tar(), true).usable());
}

TEST(ManifestCheck, NamesTheFirstShardThatDiffersAndBothValues) {
  const std::vector<ShardEntry> found{entry("a", "e1"), entry("b", "e2")};
  const auto say = [&](std::vector<ShardEntry> expected) {
    return std::string(check_manifest(expected, "s3://x", "r/", found).message());
  };
  EXPECT_EQ(say({}), "");
  EXPECT_EQ(say({entry("r/a", "e1"), entry("r/b", "")}), "");
  EXPECT_NE(say({entry("r/a", "e1"), entry("r/b", "e3")}).find("s3://x/r/b: ETag: the manifest says e3, the store says e2"),
            std::string::npos);
  EXPECT_NE(say({entry("r/a", "e1", 5)}).find("s3://x/r/a: bytes: the manifest says 5"), std::string::npos);
  EXPECT_NE(say({entry("r/c", "e1")}).find("shard 0: the manifest says r/c"), std::string::npos);
  EXPECT_NE(say({entry("r/a", "e1")}).find("s3://x/r/b: number of shards: the manifest says 1"), std::string::npos);
  EXPECT_NE(say({entry("r/a", ""), entry("r/b", ""), entry("r/z", "")}).find("s3://x/r/z: number of shards"),
            std::string::npos);
}

}  // namespace
}  // namespace headrace
