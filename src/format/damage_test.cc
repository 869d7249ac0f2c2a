// SPDX-License-Identifier: Apache-2.0
//
// Damage, exhaustively: every cut and every single bit flip of a small tar and a small MDS shard.
// What must never happen is data that differ from the truth without an error. A tar by itself
// cannot promise that (bodies have no checksum); with the index's checksums it holds.
#include <gtest/gtest.h>

#include "format/mds.h"
#include "format/shard_format.h"
#include "format/testing_index.h"
#include "format/testing_tar.h"

namespace headrace {
namespace {

using namespace testing;  // NOLINT

struct Outcomes {
  uint64_t error = 0, same = 0, wrong = 0;
  uint64_t total() const { return error + same + wrong; }
};

using Samples =
    std::vector<std::pair<std::string, std::vector<std::pair<std::string, std::string>>>>;

// All samples of shard 0 as a reader gets them: verify, then cut, stride by stride.
Result<Samples> read_all(const DatasetIndex& index, const Cutter& cutter, std::string_view object) {
  Samples samples;
  SampleBatchView batch;
  for (uint64_t k = 0; k < index.strides(0); ++k) {
    const ByteRange range = index.stride_range(0, k);
    if (range.end > object.size()) return corrupt("beyond the object");  // what a store answers
    const Bytes bytes = as_bytes(object.substr(range.begin, range.size()));
    HR_TRY(index.verify(0, k, 1, bytes));
    batch.clear();
    HR_TRY(cutter.cut(bytes, index.row_end(0, k) - index.row_begin(k), batch));
    for (size_t i = 0; i < batch.size(); ++i) {
      samples.emplace_back(batch[i].key, std::vector<std::pair<std::string, std::string>>());
      for (const FieldView& f : batch[i].fields) {
        samples.back().second.emplace_back(f.name, as_text(f.bytes));
      }
    }
  }
  return samples;
}

Outcomes flip_every_bit(const DatasetIndex& index, std::string object) {
  const auto cutter = *make_cutter(std::make_shared<const DatasetIndex>(index));
  const Samples truth = *read_all(index, *cutter, object);
  Outcomes outcomes;
  for (size_t bit = 0; bit < object.size() * 8; ++bit) {
    object[bit / 8] = static_cast<char>(object[bit / 8] ^ (1 << bit % 8));
    const auto samples = read_all(index, *cutter, object);
    if (!samples.ok()) {
      ++outcomes.error;
    } else if (*samples == truth)
      ++outcomes.same;
    else {
      ++outcomes.wrong;
    }
    object[bit / 8] = static_cast<char>(object[bit / 8] ^ (1 << bit % 8));
  }
  return outcomes;
}

std::shared_ptr<const DatasetIndex> index_of(Format format, uint64_t size, ShardIndex found,
                                             bool crc, std::string schema) {
  if (!crc) found.crcs.clear();
  DatasetIndexBuilder builder(format, {{.key = "shard", .size = size}},
                              {.stride = found.stride, .schema_json = std::move(schema)});
  EXPECT_TRUE(builder.add(0, std::move(found)).ok());
  return *builder.finish();
}

// 4,096 bytes: three samples, a PAX header as the webdataset package writes it, two end blocks.
std::string small_tar() {
  std::string tar = pax(pax_record("mtime", "1600000000.25")) + tar_file("a.txt", "hello") +
                    tar_file("b.txt", "") + tar_file("c.txt", std::string(10, 'c'));
  while (tar.size() < 4'096) tar += '\0';
  return tar;
}

const MdsShard kShard{.basename = "s.mds", .bytes = 4'096, .samples = 20, .hashes = {}};
MdsSchema schema() {
  return {{{"n", *parse_mds_encoding("int")}, {"w", *parse_mds_encoding("str")}}};
}

// 4,096 bytes: 20 samples and a schema that fills the rest.
std::string small_mds() {
  std::string offsets, samples;
  const auto u32 = [](uint64_t n) {
    std::string out;
    for (int shift : {0, 8, 16, 24}) out += static_cast<char>(n >> shift);
    return out;
  };
  for (uint64_t i = 0; i < 20; ++i) {
    samples += u32(i * 3) + std::string(8, static_cast<char>(i)) +
               std::string(i * 3, static_cast<char>('a' + i));
  }
  const uint64_t first = 4'096 - samples.size();
  offsets = u32(20) + u32(first);
  for (uint64_t i = 0, at = first; i < 20; ++i) offsets += u32(at += 12 + i * 3);
  return offsets + std::string(first - offsets.size(), ' ') + samples;
}

Result<ShardIndex> index_mds(const std::string& shard, IndexerOptions options = {}) {
  return run_indexer(*make_mds_indexer(kShard, schema(), shard.size(), options), shard, 4'096);
}

TEST(TarWithChecksums, NoBitFlipGivesWrongData) {
  const std::string tar = small_tar();
  for (uint64_t stride : {1, 2}) {
    const auto index =
        index_of(Format::kWebDataset, tar.size(), *index_tar(tar, {.stride = stride}), true, "");
    const Outcomes o = flip_every_bit(*index, tar);
    EXPECT_EQ(o.wrong, 0u);
    EXPECT_EQ(o.same,
              index->shards()[0].size * 8 - index->sample_bytes() * 8);  // end blocks: never read
    EXPECT_EQ(o.error, index->sample_bytes() * 8);
  }
}

TEST(MdsWithChecksums, NoBitFlipGivesWrongData) {
  const std::string shard = small_mds();
  for (uint64_t stride : {1, 4}) {
    const auto index = index_of(Format::kMds, shard.size(), *index_mds(shard, {.stride = stride}),
                                true, schema().json());
    const Outcomes o = flip_every_bit(*index, shard);
    EXPECT_EQ(o.wrong, 0u);
    EXPECT_EQ(o.error, index->sample_bytes() * 8);
    EXPECT_EQ(o.same,
              (shard.size() - index->sample_bytes()) * 8);  // offsets and schema: never read
  }
}

// Why the index has checksums: these flips go through without them.
// Lines of JSON and of values: every bit of them, and of the blank lines between, is under a checksum.
TEST(LinesWithChecksums, NoBitFlipGivesWrongData) {
  const std::string text = "{\"a\":1,\"t\":\"x\"}\r\n\n{\"a\":2,\"t\":\"\\u0041\"}\n{\"a\":3,\"t\":\"\"}";
  const auto format = *(*shard_format(Format::kJsonl, ""))->learned({text.substr(0, 18)});
  for (uint64_t stride : {1, 2}) {
    const auto found = run_indexer(
        *format->indexer(0, {.key = "shard", .size = text.size()}, {.stride = stride}), text, 7);
    const auto index = index_of(Format::kJsonl, text.size(), *found, true, format->schema_json());
    const Outcomes o = flip_every_bit(*index, text);
    EXPECT_EQ(o.wrong + o.same, 0u);
    EXPECT_EQ(o.error, text.size() * 8);
  }
}

TEST(WithoutChecksums, FlipsInBodiesGoUnseen) {
  const std::string tar = small_tar(), mds = small_mds();
  const Outcomes t =
      flip_every_bit(*index_of(Format::kWebDataset, tar.size(), *index_tar(tar), false, ""), tar);
  // 15 bytes of bodies; in the PAX record the mtime and its keyword; a header is covered by its own
  // checksum.
  EXPECT_EQ(t.wrong, 15u * 8);
  EXPECT_EQ(t.total(), tar.size() * 8);
  const Outcomes m = flip_every_bit(
      *index_of(Format::kMds, mds.size(), *index_mds(mds), false, schema().json()), mds);
  // 20 ints and 3 x (0 + ... + 19) bytes of text; a changed length is seen.
  EXPECT_EQ(m.wrong, (20u * 8 + 3 * 190) * 8);
  EXPECT_EQ(m.error, 20u * 4 * 8);
  RecordProperty("tar_error", static_cast<int>(t.error));
  RecordProperty("tar_same", static_cast<int>(t.same));
}

TEST(CutTar, IsAnErrorOrReported) {
  const std::string tar = small_tar();
  const uint64_t data_end = index_tar(tar)->borders.back();
  uint64_t errors = 0, reported = 0, same = 0;
  for (size_t n = 0; n < tar.size(); ++n) {
    const auto found = index_tar(std::string_view(tar).substr(0, n));
    if (!found.ok()) {
      EXPECT_EQ(found.status().code(), Code::kCorrupt) << n;
      ++errors;
    } else if (found->end_blocks_missing) {
      EXPECT_EQ(n % 512, 0u);
      ++reported;
    } else {
      EXPECT_GE(n, data_end + 512) << n;
      EXPECT_EQ(found->samples, 3u);
      ++same;
    }
  }
  EXPECT_EQ(reported, 3u);  // behind each member: a.txt, b.txt, c.txt
  EXPECT_EQ(same, tar.size() - data_end - 512);
  EXPECT_EQ(errors, data_end + 512 - 3);
}

TEST(CutTar, IsAlwaysSeenAgainstAnIndexOfTheWhole) {
  const std::string tar = small_tar();
  const auto index = index_of(Format::kWebDataset, tar.size(), *index_tar(tar), true, "");
  for (size_t n = 0; n < tar.size(); ++n) {
    EXPECT_EQ(check_listing(*index, {{.key = "shard", .size = n}}, true).code(),
              Code::kPrecondition)
        << n;
  }
}

TEST(CutMds, IsAlwaysAnError) {
  const std::string shard = small_mds();
  for (size_t n = 0; n < shard.size(); ++n) {
    EXPECT_EQ(index_mds(shard.substr(0, n)).status().code(), Code::kCorrupt) << n;
  }
}

// Indexing a damaged object: an error, or an index; the process lives, and what it says can be cut.
TEST(IndexingDamage, IsAnErrorOrAnIndexThatCanBeCut) {
  std::string tar = small_tar();
  uint64_t errors = 0;
  for (size_t bit = 0; bit < tar.size() * 8; ++bit) {
    tar[bit / 8] = static_cast<char>(tar[bit / 8] ^ (1 << bit % 8));
    auto found = index_tar(tar);
    errors += !found.ok();
    if (found.ok() && found->samples > 0) {
      const auto index = index_of(Format::kWebDataset, tar.size(), *std::move(found), true, "");
      const auto samples = read_all(*index, **make_cutter(index), tar);
      EXPECT_TRUE(samples.ok()) << bit << ": " << samples.status().message();
    }
    tar[bit / 8] = static_cast<char>(tar[bit / 8] ^ (1 << bit % 8));
  }
  // At least: all of the four header blocks but the two bytes behind the digits of each checksum,
  // and the end blocks but for the first, whose flips make it a header with a bad checksum.
  EXPECT_GE(errors, (4u * 510 + 512) * 8);
}

}  // namespace
}  // namespace headrace
