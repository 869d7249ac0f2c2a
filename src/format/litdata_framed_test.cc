// SPDX-License-Identifier: Apache-2.0
//
// Chunks that litdata 0.2.76 compressed by sample and by batch, and its chunks of tokens (tests/fixtures/litdata76-*):
// indexed and cut, whole and damaged in every place.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "base/endian.h"
#include "format/litdata.h"
#include "format/testing_index.h"

namespace headrace {
namespace {

std::string read_file(const std::string& name) {
  std::ifstream in(std::string(HR_SOURCE_DIR "/tests/fixtures/") + name, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

struct Chunk {
  std::shared_ptr<const ShardFormat> format;
  std::string bytes;
};
Chunk first_chunk(const std::string& fixture) {
  const std::string json = read_file(fixture + "/data/index.json");
  LitDataIndex index = *parse_litdata_index(as_bytes(json));
  const auto format = index.tokens ? *make_litdata_token_format(index, {.window = 64, .dtype = "", .eos = {}})
                                   : make_litdata_format(index);
  return {format, read_file(fixture + "/data/chunk-0-0.bin")};
}

Result<ShardIndex> indexed(const Chunk& chunk, std::string_view bytes, uint64_t step = 1 << 20, bool crc = true) {
  const ShardEntry entry{.key = "chunk-0-0.bin", .size = bytes.size()};
  return testing::run_indexer(*chunk.format->indexer(0, entry, {.stride = 1, .crc = crc}), bytes, step);
}

using Samples = std::vector<std::vector<std::string>>;
Result<Samples> read_all(const Chunk& chunk, const ShardIndex& index, std::string_view bytes) {
  Samples samples;
  const auto cutter = chunk.format->cutter({});
  for (size_t k = 0; k + 1 < index.borders.size(); ++k) {
    SampleBatchView view;
    const uint64_t rows = std::min(index.stride, index.samples - k * index.stride);
    HR_TRY(cutter->cut(as_bytes(bytes.substr(index.borders[k], index.borders[k + 1] - index.borders[k])), rows, view));
    for (size_t i = 0; i < view.size(); ++i) {
      samples.emplace_back();
      for (const FieldView& f : view[i].fields) samples.back().emplace_back(as_text(f.bytes));
    }
  }
  return samples;
}

const char* const kFixtures[] = {"litdata76-zstd-sample", "litdata76-zstd-batch", "litdata76-tokens"};

TEST(LitDataFramed, AnIndexDoesNotDependOnHowBytesCame) {
  for (const char* fixture : kFixtures) {
    const Chunk chunk = first_chunk(fixture);
    const auto whole = indexed(chunk, chunk.bytes), parts = indexed(chunk, chunk.bytes, 5),
               table = indexed(chunk, chunk.bytes, 64, false);
    ASSERT_TRUE(whole.ok()) << fixture << whole.status().message();
    ASSERT_TRUE(parts.ok() && table.ok());
    EXPECT_EQ(whole->borders, parts->borders);
    EXPECT_EQ(whole->borders, table->borders);
    EXPECT_EQ(whole->crcs, parts->crcs);
    EXPECT_EQ(whole->crcs.size(), whole->borders.size() - 1);
    EXPECT_TRUE(table->crcs.empty());
    EXPECT_TRUE(read_all(chunk, *whole, chunk.bytes).ok());
  }
  const Chunk batch = first_chunk("litdata76-zstd-batch");
  EXPECT_EQ(indexed(batch, batch.bytes)->stride, 4u);  // its compression_batch_size
}

// The same samples were written plain and compressed.
TEST(LitDataFramed, SamplesAreThoseOfThePlainChunk) {
  const Chunk sample = first_chunk("litdata76-zstd-sample"), batch = first_chunk("litdata76-zstd-batch");
  const auto by_sample = read_all(sample, *indexed(sample, sample.bytes), sample.bytes),
             by_batch = read_all(batch, *indexed(batch, batch.bytes), batch.bytes);
  ASSERT_EQ(by_sample->size(), 16u);
  EXPECT_EQ(*by_sample, *by_batch);
}

TEST(LitDataFramed, EveryTruncationIsAnError) {
  for (const char* fixture : kFixtures) {
    const Chunk chunk = first_chunk(fixture);
    for (size_t n = 0; n < chunk.bytes.size(); n += 3) {
      EXPECT_FALSE(indexed(chunk, std::string_view(chunk.bytes).substr(0, n), 1 << 20, n % 2 == 0).ok()) << fixture << n;
    }
  }
}

// Frames have no checksum of their own (litdata asks for none): what zstd notices is an error, the rest is seen by the
// index's CRCs only. Nothing reads beyond its bytes.
TEST(LitDataFramed, FlipsAreErrorsOrSeenByTheIndex) {
  for (const char* fixture : {"litdata76-zstd-sample", "litdata76-zstd-batch"}) {
    Chunk chunk = first_chunk(fixture);
    const auto index = *indexed(chunk, chunk.bytes);
    const Samples truth = *read_all(chunk, index, chunk.bytes);
    int errors = 0, same = 0, wrong = 0;
    for (size_t at = index.borders.front(); at < chunk.bytes.size(); at += 5) {
      const char was = chunk.bytes[at];
      chunk.bytes[at] = static_cast<char>(was ^ (1 << at % 8));
      const auto got = read_all(chunk, index, chunk.bytes);
      errors += !got.ok();
      same += got.ok() && *got == truth;
      wrong += got.ok() && *got != truth;
      const auto again = indexed(chunk, chunk.bytes);
      EXPECT_TRUE(!again.ok() || again->crcs != index.crcs) << fixture << at;
      chunk.bytes[at] = was;
    }
    RecordProperty(std::string(fixture) + " errors", errors);
    RecordProperty(std::string(fixture) + " same", same);
    RecordProperty(std::string(fixture) + " unseen without the index", wrong);
    EXPECT_GT(errors, 100);
  }
}

TEST(LitDataBatch, NamesWhatItsDirectorySaysWrong) {
  const Chunk chunk = first_chunk("litdata76-zstd-batch");
  const auto with = [&](size_t at, uint32_t value) {
    std::string bytes = chunk.bytes;
    store_le<uint32_t>(bytes.data() + at, value);
    return indexed(chunk, bytes).status();
  };
  EXPECT_NE(with(0, 0).message().find("LDFZ01"), std::string::npos);
  EXPECT_EQ(with(8, 2).code(), Code::kUnsupported);        // version
  EXPECT_EQ(with(12, 17).code(), Code::kCorrupt);          // items
  EXPECT_EQ(with(20, 5).code(), Code::kCorrupt);           // frames
  EXPECT_EQ(with(16, 0).code(), Code::kCorrupt);
  const size_t table = 24 + 4 * 17;
  for (size_t at : {table, table + 4, table + 8, table + 16, table + 24}) {
    EXPECT_EQ(with(at, 9'999).code(), Code::kCorrupt) << at;
  }
  std::string odd = chunk.bytes;  // one frame of more items than a block of the order may have
  store_le<uint32_t>(odd.data() + 16, 65'537);
  store_le<uint32_t>(odd.data() + 20, 1);
  const Status status = indexed(chunk, odd).status();
  EXPECT_EQ(status.code(), Code::kUnsupported);
  EXPECT_NE(status.message().find("compression_batch_size=256"), std::string::npos) << status.message();
}

TEST(LitDataTokens, WantAWindowAndIntegers) {
  LitDataIndex index = *parse_litdata_index(as_bytes(read_file("litdata76-tokens/data/index.json")));
  EXPECT_TRUE(index.tokens);
  EXPECT_NE(make_litdata_token_format(index, {}).status().message().find("need window="), std::string::npos);
  EXPECT_EQ(make_litdata_token_format(index, {.window = 8, .dtype = "uint16", .eos = {}}).status().code(),
            Code::kInvalidArgument);
  index.leaves[0].dtype = MdsDtype::kFloat32;
  EXPECT_EQ(make_litdata_token_format(index, {.window = 8, .dtype = "", .eos = {}}).status().code(), Code::kUnsupported);
  Chunk chunk = first_chunk("litdata76-tokens");
  const auto found = *indexed(chunk, chunk.bytes);
  EXPECT_EQ(found.samples, 1'808u / 64);  // "dim" of index.json
  EXPECT_EQ(found.borders[0], 4u * 15);   // behind the table of 13 items
  store_le<uint32_t>(chunk.bytes.data() + 4 * 5, 0);
  EXPECT_NE(indexed(chunk, chunk.bytes).status().message().find("ends before it begins"), std::string::npos);
}

}  // namespace
}  // namespace headrace
