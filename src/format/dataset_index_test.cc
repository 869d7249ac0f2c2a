// SPDX-License-Identifier: Apache-2.0
#include "format/dataset_index.h"

#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "format/index_file.h"

namespace headrace {
namespace {

// A shard whose samples have the given sizes; its bytes are a fixed pattern.
std::string object_of(uint64_t size) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 7 + (i >> 8));
  return bytes;
}
ShardIndex shard_of(const std::string& object, uint64_t begin, const std::vector<uint64_t>& sizes) {
  ShardIndex found;
  found.samples = sizes.size();
  found.borders.push_back(begin);
  for (uint64_t size : sizes) {
    found.crcs.push_back(crc32c(as_bytes(std::string_view(object).substr(begin, size))));
    found.borders.push_back(begin += size);
  }
  found.fields = {{"jpg", sizes.size()}};
  return found;
}
std::vector<ShardEntry> two_shards() {
  return {{.key = "a.tar", .size = 1'000, .etag = "e1"},
          {.key = "b.tar", .size = 500, .etag = "e2"}};
}
// Shard a: 7 samples of 100 bytes from byte 50; shard b: 3 of 10, 20, 30 from 0.
std::shared_ptr<const DatasetIndex> small_index(uint64_t stride, bool swapped = false) {
  DatasetIndexBuilder builder(Format::kWebDataset, two_shards(),
                              {.stride = stride, .schema_json = {}});
  ShardIndex a = shard_of(object_of(1'000), 50, std::vector<uint64_t>(7, 100));
  ShardIndex b = shard_of(object_of(500), 0, {10, 20, 30});
  b.fields = {{"cls", 2}, {"jpg", 3}};
  for (uint64_t s : {swapped ? 1u : 0u, swapped ? 0u : 1u}) {
    EXPECT_TRUE(builder.add(s, s == 0 ? a : b).ok());
  }
  auto index = builder.finish();
  EXPECT_TRUE(index.ok());
  return *index;
}

TEST(Stride, IsTheLargestPowerOfTwoWithinSixtyFourKibibytes) {
  EXPECT_EQ(stride_for_mean_bytes(115'000), 1u);
  EXPECT_EQ(stride_for_mean_bytes(65'537), 1u);
  EXPECT_EQ(stride_for_mean_bytes(65'536), 1u);
  EXPECT_EQ(stride_for_mean_bytes(32'769), 1u);
  EXPECT_EQ(stride_for_mean_bytes(32'768), 2u);
  EXPECT_EQ(stride_for_mean_bytes(1'000), 64u);
  EXPECT_EQ(stride_for_mean_bytes(1), 65'536u);
  EXPECT_EQ(stride_for_mean_bytes(0), 65'536u);
}

TEST(DatasetIndex, RoundsRowsOutToStrides) {
  const auto index = small_index(4);
  EXPECT_EQ(index->samples(), 10u);
  EXPECT_EQ(index->sample_bytes(), 760u);
  EXPECT_EQ(index->counts(), (std::vector<uint64_t>{7, 3}));
  EXPECT_EQ(index->strides(0), 2u);
  EXPECT_EQ(index->strides(1), 1u);
  EXPECT_EQ(index->strides(), 3u);
  EXPECT_EQ(index->stride_range(0, 0), (ByteRange{50, 450}));
  EXPECT_EQ(index->stride_range(0, 1), (ByteRange{450, 750}));
  EXPECT_EQ(index->stride_range(1, 0), (ByteRange{0, 60}));
  EXPECT_EQ(index->range_of_rows(0, 0, 4), (ByteRange{50, 450}));
  EXPECT_EQ(index->range_of_rows(0, 3, 5), (ByteRange{50, 750}));
  EXPECT_EQ(index->range_of_rows(0, 4, 5), (ByteRange{450, 750}));
  EXPECT_EQ(index->data_range(0), (ByteRange{50, 750}));
  EXPECT_EQ(index->row_begin(1), 4u);
  EXPECT_EQ(index->row_end(0, 1), 7u);
}

TEST(DatasetIndex, CoarserStridesHaveTheChecksumsOfTheirBytes) {
  const std::string a = object_of(1'000);
  for (uint64_t stride : {1, 2, 4, 8}) {
    const auto index = small_index(stride);
    for (uint64_t k = 0; k < index->strides(0); ++k) {
      const ByteRange r = index->stride_range(0, k);
      EXPECT_EQ(index->stride_crc(0, k),
                crc32c(as_bytes(std::string_view(a).substr(r.begin, r.size()))));
    }
    EXPECT_EQ(small_index(1)->coarsened(stride), *index);
    EXPECT_EQ(small_index(stride)->coarsened(8), *small_index(8));
  }
}

TEST(DatasetIndex, VerifyNamesTheStrideThatIsDamaged) {
  const auto index = small_index(2);
  std::string bytes = object_of(1'000).substr(50, 700);
  EXPECT_TRUE(index->verify(0, 0, 4, as_bytes(bytes)).ok());
  EXPECT_TRUE(index->verify(0, 1, 1, as_bytes(std::string_view(bytes).substr(200, 200))).ok());
  bytes[250] ^= 1;
  const Status status = index->verify(0, 0, 4, as_bytes(bytes));
  EXPECT_EQ(status.code(), Code::kCorrupt);
  EXPECT_NE(status.message().find("a.tar bytes [250, 450) (rows 2 to 3)"), std::string::npos)
      << status.message();
}

TEST(DatasetIndex, IsTheSameInWhateverOrderShardsCome) {
  EXPECT_EQ(*small_index(1), *small_index(1, /*swapped=*/true));
}

TEST(DatasetIndex, CountsFieldsOverShardsInFirstSeenOrder) {
  EXPECT_EQ(small_index(1)->fields(), (std::vector<FieldEntry>{{"jpg", 10}, {"cls", 2}}));
}

TEST(DatasetIndex, OrderHashKnowsKeysSizesAndSamplesButNotETags) {
  const auto hash = [](std::vector<ShardEntry> shards, uint64_t samples,
                       Format format = Format::kWebDataset) {
    DatasetIndexBuilder builder(format, shards);
    for (size_t s = 0; s < shards.size(); ++s) {
      EXPECT_TRUE(
          builder.add(s, shard_of(object_of(1'000), 0, std::vector<uint64_t>(samples, 10))).ok());
    }
    const auto index = *builder.finish();
    return std::pair(index->order_hash(), index->identity_hash());
  };
  const auto base = hash(two_shards(), 3);
  auto other = two_shards();
  other[1].etag = "e3";
  EXPECT_EQ(hash(other, 3).first, base.first);
  EXPECT_NE(hash(other, 3).second, base.second);
  other = two_shards();
  other[1].key = "c.tar";
  EXPECT_NE(hash(other, 3).first, base.first);
  EXPECT_EQ(hash(other, 3).second, base.second);
  other = two_shards();
  other[1].size = 501;
  EXPECT_NE(hash(other, 3).first, base.first);
  EXPECT_NE(hash(two_shards(), 4).first, base.first);
  EXPECT_NE(hash(two_shards(), 3, Format::kMds).first, base.first);
}

TEST(CheckListing, NamesWhatDiffers) {
  const auto index = small_index(1);
  auto listed = two_shards();
  EXPECT_TRUE(check_listing(*index, listed, false).ok());
  const auto expect = [&](const std::string& part, bool trust_copy) {
    const Status status = check_listing(*index, listed, trust_copy);
    EXPECT_EQ(status.code(), Code::kPrecondition);
    EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
  };
  listed[1].etag = "e3";
  expect("shard 1 \"b.tar\" ETag: the index says e2, the store says e3", false);
  EXPECT_TRUE(check_listing(*index, listed, /*trust_copy=*/true).ok());
  listed[1].size = 501;
  expect("\"b.tar\" size: the index says 500, the store says 501", true);
  listed[0].key = "z.tar";
  expect("shard 0: the index says \"a.tar\"", true);
  listed.pop_back();
  expect("number of shards: the index says 2, the store says 1", true);
}

TEST(CheckListing, VersionsCountWhereBothSidesHaveThem) {
  auto shards = two_shards();
  shards[0].version_id = "v1";
  DatasetIndexBuilder builder(Format::kWebDataset, shards);
  for (uint64_t s : {0, 1}) EXPECT_TRUE(builder.add(s, shard_of(object_of(1'000), 0, {1})).ok());
  const auto index = *builder.finish();
  EXPECT_TRUE(check_listing(*index, two_shards(), false).ok());
  shards[0].version_id = "v2";
  EXPECT_EQ(check_listing(*index, shards, false).code(), Code::kPrecondition);
}

TEST(Builder, RefusesWhatContradictsItself) {
  const ShardIndex good = shard_of(object_of(1'000), 0, {10, 20, 30});
  const auto expect = [](ShardIndex found, std::string_view part, uint64_t stride = 0) {
    DatasetIndexBuilder builder(Format::kWebDataset, two_shards(),
                                {.stride = stride, .schema_json = {}});
    const Status status = builder.add(1, std::move(found));
    EXPECT_FALSE(status.ok());
    EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
    EXPECT_EQ(builder.shards_missing(), 2u);
  };
  ShardIndex bad = good;
  bad.borders.pop_back();
  expect(bad, "3 samples at stride 1 do not fit 3 borders");
  bad = good;
  bad.crcs.pop_back();
  expect(bad, "and 2 checksums");
  bad = good;
  bad.borders[2] = bad.borders[1];
  expect(bad, "stride 1 does not end after its begin");
  bad = good;
  bad.borders[3] = 501;
  expect(bad, "samples end at byte 501, the object has 500");
  bad = good;
  for (uint64_t stride : {uint64_t{0}, kStrideMax + 1}) {
    bad.stride = stride;
    expect(bad, "is not 1 to 65536");
  }
  bad = coarsened_shard(good, 4);
  expect(bad, "stride 4 is no divisor of 2", 2);
  bad = good;
  bad.samples = kShardSamplesMax + 1;
  expect(bad, "samples in one shard");
}

TEST(Builder, NeedsAllShardsAndASample) {
  DatasetIndexBuilder builder(Format::kWebDataset, two_shards());
  EXPECT_EQ(builder.finish().status().code(), Code::kInvalidArgument);
  ShardIndex none;
  none.borders = {0};
  EXPECT_TRUE(builder.add(0, none).ok());
  EXPECT_TRUE(builder.add(1, none).ok());
  EXPECT_EQ(builder.finish().status().code(), Code::kUnsupported);
}

TEST(Builder, ShardsWithoutSamplesAreKept) {
  DatasetIndexBuilder builder(Format::kWebDataset, two_shards());
  ShardIndex none;
  none.borders = {0};
  EXPECT_TRUE(builder.add(0, none).ok());
  EXPECT_TRUE(builder.add(1, shard_of(object_of(1'000), 0, {10})).ok());
  const auto index = *builder.finish();
  EXPECT_EQ(index->strides(0), 0u);
  EXPECT_EQ(index->stride_range(1, 0), (ByteRange{0, 10}));
  EXPECT_TRUE(index->has_crc());
  EXPECT_EQ(index->stride(), 4'096u);  // 65,536 / 10 = 6,553
}

TEST(Builder, WithoutCrcsInOneShardThereAreNone) {
  DatasetIndexBuilder builder(Format::kWebDataset, two_shards());
  ShardIndex plain = shard_of(object_of(1'000), 0, {10});
  EXPECT_TRUE(builder.add(0, plain).ok());
  plain.crcs.clear();
  EXPECT_TRUE(builder.add(1, plain).ok());
  const auto index = *builder.finish();
  EXPECT_FALSE(index->has_crc());
  EXPECT_TRUE(index->verify(0, 0, 1, as_bytes("0123456789")).ok());
}

TEST(Format, NamesAndNumbersAgree) {
  EXPECT_EQ(*format_from_name("webdataset"), Format::kWebDataset);
  EXPECT_EQ(*format_from_name("mds"), Format::kMds);
  EXPECT_EQ(format_from_name("tar").status().code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace headrace
