// SPDX-License-Identifier: Apache-2.0
//
// Rows that are cut one by one are what a cut of all of them gives, in the files of every format's own writers
// (tests/fixtures); and no row is cut to find another.
#include "format/row_begins.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "format/jsonl.h"
#include "format/lines.h"
#include "format/litdata.h"
#include "format/mds.h"
#include "format/shard_format.h"
#include "format/testing_index.h"
#include "format/tfrecord.h"
#include "format/token_documents.h"
#include "format/tokens.h"

namespace headrace {
namespace {

using testing::run_indexer;

std::string read_file(const std::string& name) {
  std::ifstream in(std::string(HR_SOURCE_DIR "/tests/fixtures/") + name, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

std::string text_of(const SampleView& sample) {
  std::string out = std::string(sample.key) + "|";
  for (const FieldView& f : sample.fields) {
    out += std::string(f.name) + "#" + std::to_string(f.id) + "=" + std::string(as_text(f.bytes)) + ";";
  }
  return out;
}

// Every stride of the shard, cut whole and row by row. Returns the number of rows in strides of more than one.
uint64_t expect_same_rows(const Cutter& cutter, uint64_t shard, const ShardIndex& index, std::string_view object) {
  uint64_t compared = 0;
  for (uint64_t row = 0, k = 0; row < index.samples; row += index.stride, ++k) {
    const Bytes bytes = as_bytes(object.substr(index.borders[k], index.borders[k + 1] - index.borders[k]));
    const uint64_t rows = std::min(index.stride, index.samples - row);
    SampleBatchView all;
    Status status = cutter.cut_at({shard, row}, bytes, rows, all);
    EXPECT_TRUE(status.ok()) << status.message();
    std::vector<uint32_t> begins;
    status = cutter.find_rows({shard, row}, bytes, rows, begins);
    EXPECT_TRUE(status.ok()) << status.message();
    if (!status.ok() || begins.size() != rows) return 0;
    for (uint64_t i = 0; i < rows; ++i) {
      const uint64_t end = i + 1 < rows ? begins[i + 1] : bytes.size();
      SampleBatchView one;
      status = cutter.cut_at({shard, row + i}, bytes.subspan(begins[i], end - begins[i]), 1, one);
      EXPECT_TRUE(status.ok()) << status.message();
      if (status.ok()) {
        EXPECT_EQ(text_of(one[0]), text_of(all[i])) << "row " << row + i;
      }
    }
    if (rows > 1) compared += rows;
  }
  return compared;
}

ShardIndex indexed(const ShardFormat& format, uint64_t shard, std::string_view object, uint64_t stride) {
  const auto found = run_indexer(*format.indexer(shard, {.key = "s", .size = object.size()}, {.stride = stride}), object,
                                 1 << 16);
  EXPECT_TRUE(found.ok()) << found.status().message();
  return found.ok() ? *found : ShardIndex{};
}

uint64_t compare(const ShardFormat& format, const std::string& name, uint64_t shard = 0) {
  SCOPED_TRACE(name);
  const std::string object = read_file(name);
  const ShardIndex index = indexed(format, shard, object, 8);
  std::vector<FieldEntry> fields = format.fields();
  return expect_same_rows(*format.cutter(fields.empty() ? index.fields : fields), shard, index, object);
}

TEST(RowBegins, TarMembersOfEachFlavour) {
  uint64_t files = 0;
  for (const char* set : {"wds-shardwriter", "wds-tar-flavours", "wds-medium"}) {
    const std::string folder = std::string(set) + "/data/";
    for (const auto& file : std::filesystem::directory_iterator(HR_SOURCE_DIR "/tests/fixtures/" + folder)) {
      if (file.path().extension() != ".tar") continue;
      EXPECT_GT(compare(*make_webdataset_format(), folder + file.path().filename().string()), 0u) << file.path();
      ++files;
    }
  }
  EXPECT_GT(files, 10u);
}

TEST(RowBegins, LinesWithBlankOnesBetweenThemWithCarriageReturnsAndWithoutAnEnd) {
  for (const char* file : {"blank-lines", "bom", "crlf", "no-trailing-newline"}) {
    const std::string name = std::string("jsonl/data/") + file + ".jsonl";
    JsonlSchemaLearner learner;
    std::istringstream lines(read_file(name));
    for (std::string line; std::getline(lines, line);) static_cast<void>(learner.add(line_text(line, "\n")));
    EXPECT_GT(compare(*make_jsonl_format(learner.schema()), name), 0u);
  }
  for (const char* set : {"mosaic-json/data/shard.00000.json", "mosaic-xsv/data/shard.00000.xsv"}) {
    const std::string folder = std::string(set).substr(0, std::string(set).rfind('/') + 1);
    auto index = parse_mds_index(as_bytes(read_file(folder + "index.json")));
    ASSERT_TRUE(index.ok()) << index.status().message();
    EXPECT_GT(compare(*make_mds_format(*std::move(index)), set), 0u);
  }
}

TEST(RowBegins, Records) {
  EXPECT_GT(compare(*make_tfrecord_format({}), "tfrecord-plain/data/train-00000-of-00003.tfrecord"), 0u);
}

TEST(RowBegins, SamplesWithTheirSizesInFront) {
  auto mds = parse_mds_index(as_bytes(read_file("mds-medium/data/index.json")));
  ASSERT_TRUE(mds.ok());
  EXPECT_GT(compare(*make_mds_format(*std::move(mds)), "mds-medium/data/shard.00000.mds"), 0u);
  for (const char* set : {"litdata76-pytree", "litdata76-zstd-sample"}) {
    auto index = parse_litdata_index(as_bytes(read_file(std::string(set) + "/data/index.json")));
    ASSERT_TRUE(index.ok()) << index.status().message();
    EXPECT_GT(compare(*make_litdata_format(*std::move(index)), std::string(set) + "/data/chunk-0-0.bin"), 0u);
  }
}

TEST(RowBegins, FramesOfManyItemsCannotBeToldApart) {
  auto index = parse_litdata_index(as_bytes(read_file("litdata76-zstd-batch/data/index.json")));
  ASSERT_TRUE(index.ok()) << index.status().message();
  std::vector<uint32_t> begins;
  const LitDataCutter cutter(*std::move(index));
  EXPECT_EQ(cutter.find_rows({}, as_bytes("x"), 1, begins).code(), Code::kUnsupported);
}

TEST(RowBegins, Windows) {
  TokenSchema schema;
  schema.dtype = MdsDtype::kUint16;
  schema.window = 100;
  schema.eos = 7;
  EXPECT_GT(compare(*make_token_format(schema), "nanogpt-bin/data/train.bin"), 0u);
  std::vector<uint32_t> begins;
  EXPECT_EQ(TokenCutter(schema).find_rows({}, as_bytes(std::string(399, 'x')), 2, begins).code(), Code::kCorrupt);
  EXPECT_EQ(TokenCutter(schema).find_rows({}, as_bytes(std::string(400, 'x')), 3, begins).code(), Code::kCorrupt);
}

TEST(RowBegins, DocumentsByTheirPlace) {
  const std::string object = read_file("megatron-indexed/data/text_u16_document.bin");
  const auto idx = parse_megatron_idx(as_bytes(read_file("megatron-indexed/data/text_u16_document.idx")), object.size());
  ASSERT_TRUE(idx.ok());
  TokenSchema schema;
  schema.dtype = MdsDtype::kUint16;
  schema.samples = TokenSamples::kDocument;
  auto tables = std::make_shared<TokenTables>(1, token_rows(*idx, schema));
  const auto format = make_token_document_format(schema, tables);
  ShardIndex index;  // one stride of all documents
  index.samples = (*tables)[0].ends.size();
  index.stride = 65'536;
  index.borders = {0, object.size()};
  const TokenDocumentCutter cutter(schema, tables);
  EXPECT_EQ(expect_same_rows(cutter, 0, index, object), index.samples);
  std::vector<uint32_t> begins;
  EXPECT_EQ(cutter.find_rows({1, 0}, as_bytes(object), 1, begins).code(), Code::kCorrupt);
  EXPECT_EQ(cutter.find_rows({0, 1}, as_bytes(object), index.samples, begins).code(), Code::kCorrupt);
  EXPECT_EQ(cutter.find_rows({0, 0}, as_bytes(object.substr(0, 10)), 9, begins).code(), Code::kCorrupt);
}

// Each cut that a whole cut reports, finding rows reports or leaves to the row it is in.
TEST(RowBegins, OtherNumbersOfRowsAndCutsAreErrors) {
  const std::string lines = "{\"a\": 1}\n{\"a\": 2}\n\n{\"a\": 3}\n";
  const JsonlCutter cutter{JsonlSchema{}};
  std::vector<uint32_t> begins;
  ASSERT_TRUE(cutter.find_rows({}, as_bytes(lines), 3, begins).ok());
  EXPECT_EQ(begins, (std::vector<uint32_t>{0, 9, 19}));
  EXPECT_EQ(cutter.find_rows({}, as_bytes(lines), 2, begins).code(), Code::kCorrupt);
  EXPECT_EQ(cutter.find_rows({}, as_bytes(lines), 4, begins).code(), Code::kCorrupt);
  // One variable column: sizes 2 and 1.
  const std::string sized("\2\0\0\0ab\1\0\0\0c", 11);
  ASSERT_TRUE(begins_by_sizes(as_bytes(sized), 2, 1, 0, begins).ok());
  EXPECT_EQ(begins, (std::vector<uint32_t>{0, 6}));
  for (size_t n = 0; n < sized.size(); ++n) {
    EXPECT_EQ(begins_by_sizes(as_bytes(sized.substr(0, n)), 2, 1, 0, begins).code(), Code::kCorrupt) << n;
  }
  EXPECT_EQ(begins_by_sizes(as_bytes(sized + "x"), 2, 1, 0, begins).code(), Code::kCorrupt);
  EXPECT_EQ(begins_by_sizes(as_bytes(sized), 1, 1, 0, begins).code(), Code::kCorrupt);
}

}  // namespace
}  // namespace headrace
