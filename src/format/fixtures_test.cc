// SPDX-License-Identifier: Apache-2.0
//
// The data sets in tests/fixtures were written by the peers' own writers; expected.jsonl is what
// the peers' own readers found in them (tests/fixtures/MANIFEST.md). Indexed and cut, they must say
// the same.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "format/index_file.h"
#include "format/mds.h"
#include "format/testing_index.h"
#include "format/testing_sha256.h"
#include "format/webdataset.h"

namespace headrace {
namespace {

using Json = nlohmann::json;
using testing::run_indexer;
using testing::sha256_hex;

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

std::string fixture(const std::string& name) {
  return std::string(HR_SOURCE_DIR "/tests/fixtures/") + name;
}

std::vector<Json> expected_of(const std::string& name) {
  std::vector<Json> lines;
  std::istringstream in(read_file(fixture(name) + "/expected.jsonl"));
  for (std::string line; std::getline(in, line);) lines.push_back(Json::parse(line));
  EXPECT_FALSE(lines.empty()) << name;
  return lines;
}

// Sample rows by shard, as expected.jsonl lists them.
std::vector<std::pair<std::string, std::vector<Json>>> by_shard(const std::vector<Json>& lines) {
  std::vector<std::pair<std::string, std::vector<Json>>> shards;
  for (const Json& line : lines) {
    const auto shard = line["shard"].get<std::string>();
    if (shards.empty() || shards.back().first != shard) shards.push_back({shard, {}});
    shards.back().second.push_back(line);
  }
  return shards;
}

// wids keeps the dot that ends the key in its field names.
std::string_view without_dot(std::string_view name) { return name.substr(name.starts_with('.')); }

void expect_fields(const SampleView& sample, const Json& want, uint64_t base, const char* file) {
  ASSERT_EQ(sample.fields.size(), want["fields"].size());
  for (const auto& [name, field] : want["fields"].items()) {
    const FieldView* f = sample.find(without_dot(name));
    ASSERT_NE(f, nullptr) << name;
    EXPECT_EQ(f->bytes.size(), field["len"].get<uint64_t>()) << name;
    EXPECT_EQ(sha256_hex(as_text(f->bytes)), field["sha256"].get<std::string>()) << name;
    if (field.contains("offset")) {
      EXPECT_EQ(base + static_cast<uint64_t>(reinterpret_cast<const char*>(f->bytes.data()) - file),
                field["offset"].get<uint64_t>());
    }
  }
}

void expect_rows(const DatasetIndex& index, const Cutter& cutter, uint64_t shard,
                 const std::string& object, const std::vector<Json>& rows) {
  ASSERT_EQ(index.shards()[shard].samples, rows.size());
  SampleBatchView batch;
  for (uint64_t k = 0; k < index.strides(shard); ++k) {
    const ByteRange range = index.stride_range(shard, k);
    const Bytes bytes = as_bytes(std::string_view(object).substr(range.begin, range.size()));
    ASSERT_TRUE(index.verify(shard, k, 1, bytes).ok());
    batch.clear();
    const uint64_t first = index.row_begin(k), n = index.row_end(shard, k) - first;
    const Status cut = cutter.cut(bytes, n, batch);
    ASSERT_TRUE(cut.ok()) << cut.message();
    ASSERT_EQ(batch.size(), n);
    for (uint64_t i = 0; i < n; ++i) {
      const Json& want = rows[first + i];
      SCOPED_TRACE(want.dump(-1, ' ', true, Json::error_handler_t::replace).substr(0, 200));
      if (want.contains("key")) {
        EXPECT_EQ(batch[i].key, want["key"].get<std::string>());
      }
      expect_fields(batch[i], want, range.begin, reinterpret_cast<const char*>(bytes.data()));
      if (index.stride() == 1 && want.contains("offset")) {
        EXPECT_EQ(range.begin, want["offset"].get<uint64_t>());
        EXPECT_GE(range.size(),
                  want["length"].get<uint64_t>());  // more: members of no sample follow
      }
    }
  }
}

class WebDatasetFixture : public ::testing::TestWithParam<std::tuple<const char*, uint64_t>> {};

TEST_P(WebDatasetFixture, IndexedAndCutSaysWhatThePeersReaderSays) {
  const auto [name, stride] = GetParam();
  const auto shards = by_shard(expected_of(name));
  std::vector<ShardEntry> entries;
  std::vector<std::string> objects;
  for (const auto& [shard, rows] : shards) {
    objects.push_back(read_file(fixture(name) + "/data/" + shard));
    ShardEntry entry;
    entry.key = shard;
    entry.size = objects.back().size();
    entries.push_back(entry);
  }
  DatasetIndexBuilder builder(Format::kWebDataset, entries, {.stride = stride, .schema_json = {}});
  for (size_t s = 0; s < shards.size(); ++s) {
    auto found = testing::index_tar(objects[s], {.stride = stride});
    ASSERT_TRUE(found.ok()) << shards[s].first << ": " << found.status().message();
    EXPECT_EQ(found->end_blocks_missing, shards[s].first == "07-noeof.tar");
    for (uint64_t chunk : {uint64_t{1}, uint64_t{511}, uint64_t{512}, uint64_t{4'097}}) {
      const auto again = testing::index_tar(objects[s], {.stride = stride}, chunk);
      ASSERT_TRUE(again.ok());
      EXPECT_EQ(again->borders, found->borders);
      EXPECT_EQ(again->crcs, found->crcs);
      EXPECT_EQ(again->checksum, found->checksum);
    }
    ASSERT_TRUE(builder.add(s, *std::move(found)).ok());
  }
  auto index = builder.finish();
  ASSERT_TRUE(index.ok()) << index.status().message();
  auto cutter = make_cutter(*index);
  ASSERT_TRUE(cutter.ok());
  for (size_t s = 0; s < shards.size(); ++s) {
    expect_rows(**index, **cutter, s, objects[s], shards[s].second);
  }
}

INSTANTIATE_TEST_SUITE_P(All, WebDatasetFixture,
                         ::testing::Combine(::testing::Values("wds-dali-idx", "wds-energon",
                                                              "wds-medium", "wds-shardwriter",
                                                              "wds-shardwriter-intmtime",
                                                              "wds-tar-flavours", "wds-wids"),
                                            ::testing::Values(1, 4)));

TEST(EnergonFixture, OffsetsEqualTheIdxThatEnergonWrote) {
  size_t files = 0;
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(fixture("wds-energon/data"))) {
    if (entry.path().extension() != ".tar") continue;
    const std::string tar = read_file(entry.path()),
                      idx = read_file(entry.path().string() + ".idx");
    const auto borders = decode_energon_idx(as_bytes(idx), tar.size());
    const auto found = testing::index_tar(tar);
    ASSERT_TRUE(borders.ok() && found.ok());
    EXPECT_EQ(*borders, found->borders) << entry.path();
    ++files;
  }
  EXPECT_EQ(files, 7u);
}

class MdsFixture : public ::testing::TestWithParam<std::tuple<const char*, uint64_t>> {};

TEST_P(MdsFixture, IndexedAndCutSaysWhatThePeersReaderSays) {
  const auto [name, stride] = GetParam();
  const std::string root = fixture(name) + "/data/";
  const std::string json = read_file(root + "index.json");
  auto mds = parse_mds_index(as_bytes(json));
  ASSERT_TRUE(mds.ok()) << mds.status().message();
  const auto shards = by_shard(expected_of(name));
  ASSERT_EQ(mds->shards.size(), shards.size());
  DatasetIndexBuilder builder(Format::kMds, mds_shard_entries(*mds),
                              {.stride = stride, .schema_json = mds->schema.json()});
  std::vector<std::string> objects;
  for (size_t s = 0; s < shards.size(); ++s) {
    EXPECT_EQ(mds->shards[s].basename, shards[s].first);
    objects.push_back(read_file(root + shards[s].first));
    for (uint64_t chunk : {uint64_t{1}, uint64_t{1000}, uint64_t{1} << 20}) {
      const auto indexer =
          make_mds_indexer(mds->shards[s], mds->schema, objects[s].size(), {.stride = stride});
      auto found = run_indexer(*indexer, objects[s], chunk);
      ASSERT_TRUE(found.ok()) << found.status().message();
      if (chunk > 1000) {
        ASSERT_TRUE(builder.add(s, *std::move(found)).ok());
      }
    }
    for (const MdsFileHash& hash : mds->shards[s].hashes) {
      auto check = MdsHashCheck::make(hash);
      EXPECT_EQ(check.ok(), hash.algorithm == "xxh3_64");
      if (!check.ok()) continue;
      (*check)->update(as_bytes(objects[s]));
      EXPECT_TRUE((*check)->finish().ok());
    }
  }
  auto index = builder.finish();
  ASSERT_TRUE(index.ok()) << index.status().message();
  auto cutter = make_cutter(*index);
  ASSERT_TRUE(cutter.ok()) << cutter.status().message();
  for (size_t s = 0; s < shards.size(); ++s) {
    expect_rows(**index, **cutter, s, objects[s], shards[s].second);
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, MdsFixture,
    ::testing::Combine(::testing::Values("mds-images", "mds-medium", "mds-merged-index",
                                         "mds-ndarray", "mds-one-sample-shards",
                                         "mds-one-shard-nohash", "mds-scalars"),
                       ::testing::Values(1, 8)));

// The shapes, dtypes and value bytes that numpy saw.
TEST(MdsNdarrayFixture, DynamicArraysComeApartAsNumpyHadThem) {
  const std::string root = fixture("mds-ndarray/data/");
  const auto mds = parse_mds_index(as_bytes(read_file(root + "index.json")));
  ASSERT_TRUE(mds.ok());
  const auto rows = expected_of("mds-ndarray");
  const MdsCutter cutter(mds->schema);
  uint64_t arrays = 0;
  for (const Json& row : rows) {
    const std::string shard = read_file(root + row["shard"].get<std::string>());
    SampleBatchView batch;
    const std::string sample =
        shard.substr(row["offset"].get<uint64_t>(), row["length"].get<uint64_t>());
    ASSERT_TRUE(cutter.cut(as_bytes(sample), 1, batch).ok());
    for (const MdsColumn& column : mds->schema.columns) {
      const Json& want = row["fields"][column.name]["decoded"];
      const auto array = read_mds_ndarray(batch[0].find(column.name)->bytes, column.encoding);
      ASSERT_TRUE(array.ok()) << array.status().message();
      EXPECT_EQ(mds_dtype_name(array->dtype), want["dtype"].get<std::string>());
      EXPECT_EQ(std::vector<uint64_t>(array->shape.begin(), array->shape.begin() + array->ndim),
                want["shape"].get<std::vector<uint64_t>>());
      EXPECT_EQ(sha256_hex(as_text(array->values)), want["sha256"].get<std::string>());
      ++arrays;
    }
  }
  EXPECT_EQ(arrays, 66u * 4);
}

TEST(Sha256ForTests, GivesThePublishedVectors) {  // FIPS 180-4 examples
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

}  // namespace
}  // namespace headrace
