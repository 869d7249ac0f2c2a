// SPDX-License-Identifier: Apache-2.0
//
// Megatron's .idx (tests/fixtures/megatron-*, written by megatron-core) and the rows that follow from it, by arithmetic
// on paper.
#include "format/token_documents.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "base/endian.h"
#include "format/testing_index.h"

namespace headrace {
namespace {

std::string read_file(const std::string& name) {
  std::ifstream in(std::string(HR_SOURCE_DIR "/tests/fixtures/") + name, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

TokenSchema schema_of(TokenSamples samples, uint64_t window = 0) {
  TokenSchema schema;
  schema.dtype = MdsDtype::kUint8;
  schema.samples = samples;
  schema.window = window;
  return schema;
}

// Documents of one sequence each, of these lengths.
MegatronIdx documents_of(const std::vector<uint64_t>& lengths) {
  MegatronIdx idx;
  uint64_t at = 0;
  for (uint64_t n : lengths) {
    idx.ends.push_back(at += n);
    idx.documents.push_back(idx.ends.size());
  }
  return idx;
}

using Numbers = std::vector<uint64_t>;

TEST(MegatronIdx, SaysSequencesDocumentsAndModes) {
  const auto text = read_file("megatron-indexed/data/text_u16_document.idx");
  const auto idx = parse_megatron_idx(as_bytes(text), 8'846);
  ASSERT_TRUE(idx.ok()) << idx.status().message();
  EXPECT_EQ(idx->dtype, MdsDtype::kUint16);
  EXPECT_EQ(idx->ends.size(), 79u);
  EXPECT_EQ(idx->ends[0], 26u);
  EXPECT_EQ(idx->ends.back(), 8'846u / 2);
  EXPECT_EQ(Numbers(idx->documents.begin(), idx->documents.begin() + 5), (Numbers{1, 3, 6, 7, 9}));
  EXPECT_TRUE(idx->modes.empty());
  const auto modes = parse_megatron_idx(as_bytes(read_file("megatron-multimodal/data/mm.idx")), 10'788);
  ASSERT_TRUE(modes.ok()) << modes.status().message();
  EXPECT_EQ(modes->modes.size(), 39u);
}

TEST(MegatronIdx, EveryTruncationAndEveryWrongNumberIsAnError) {
  const auto text = read_file("megatron-indexed/data/text_u16_document.idx");
  for (size_t n = 0; n < text.size(); ++n) {
    EXPECT_FALSE(parse_megatron_idx(as_bytes(text.substr(0, n)), 8'846).ok()) << n;
  }
  EXPECT_EQ(parse_megatron_idx(as_bytes(text), 8'844).status().code(), Code::kCorrupt);
  for (size_t at = 18; at < text.size(); ++at) {  // counts, lengths, pointers, documents: each contradicts another one
    std::string damaged = text;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x80);
    const auto idx = parse_megatron_idx(as_bytes(damaged), 8'846);
    EXPECT_FALSE(idx.ok()) << at;
  }
}

TEST(TokenRows, WindowsHaveTheDocumentsEndsAsMarks) {
  auto schema = schema_of(TokenSamples::kWindow, 4);
  schema.boundaries = true;
  const TokenRows rows = token_rows(documents_of({3, 2, 0, 9, 1}), schema);
  EXPECT_EQ(rows.ends, (Numbers{4, 8, 12}));
  EXPECT_EQ(rows.marks, (Numbers{3, 5, 14, 15}));
}

TEST(TokenRows, PackedWindowsHoldWholeDocuments) {
  const auto packed = [](const Numbers& lengths) {
    return token_rows(documents_of(lengths), schema_of(TokenSamples::kPacked, 4)).ends;
  };
  EXPECT_EQ(packed({3, 2, 9, 1}), (Numbers{3, 5, 9, 13, 15}));
  EXPECT_EQ(packed({2, 2, 4, 1, 3, 1}), (Numbers{4, 8, 12, 13}));
  EXPECT_EQ(packed({8}), (Numbers{4, 8}));
  EXPECT_EQ(packed({1, 1, 1, 1, 1}), (Numbers{4, 5}));
  EXPECT_EQ(packed({}), Numbers{});
}

TEST(TokenRows, EmptySequencesAndDocumentsAreNone) {
  MegatronIdx idx = documents_of({2, 0, 3});
  idx.modes = {5, 6, 7};
  auto schema = schema_of(TokenSamples::kSequence);
  schema.modes = true;
  const TokenRows rows = token_rows(idx, schema);
  EXPECT_EQ(rows.ends, (Numbers{2, 5}));
  EXPECT_EQ(rows.modes, (std::vector<int8_t>{5, 7}));
  EXPECT_EQ(token_rows(idx, schema_of(TokenSamples::kDocument)).ends, (Numbers{2, 5}));
}

std::vector<int32_t> marks_of(const SampleView& sample) {
  const auto array = *read_mds_ndarray(sample.find("cu_seqlens")->bytes, *parse_mds_encoding("ndarray:int32"));
  std::vector<int32_t> marks(array.shape[0]);
  std::memcpy(marks.data(), array.values.data(), array.values.size());
  return marks;
}

TEST(TokenDocumentCutter, FillsUpAndMarks) {
  auto schema = schema_of(TokenSamples::kPacked, 4);
  schema.eos = 'e';
  auto tables = std::make_shared<TokenTables>();
  tables->push_back(token_rows(documents_of({3, 2, 9, 1}), schema));
  const TokenDocumentCutter cutter(schema, tables);
  SampleBatchView out;
  ASSERT_TRUE(cutter.cut_at({0, 1}, as_bytes("defghijklmno"), 4, out).ok());  // rows 1 to 4
  ASSERT_EQ(out.size(), 4u);
  EXPECT_EQ(as_text(out[0].find("tokens")->bytes), "deee");
  EXPECT_EQ(marks_of(out[0]), (std::vector<int32_t>{0, 2, 4}));
  EXPECT_EQ(load_le<int64_t>(out[0].find("length")->bytes.data()), 2);
  EXPECT_EQ(as_text(out[1].find("tokens")->bytes), "fghi");
  EXPECT_EQ(marks_of(out[1]), (std::vector<int32_t>{0, 4}));
  EXPECT_EQ(marks_of(out[3]), (std::vector<int32_t>{0, 1, 2, 4}));
  for (const auto& [row, bytes, rows] :
       {std::tuple{1u, "defghijklmn", 4u}, {2u, "defghijklmno", 4u}, {9u, "", 0u}, {0u, "abc", 6u}}) {
    EXPECT_EQ(cutter.cut_at({0, row}, as_bytes(bytes), rows, out).code(), Code::kCorrupt);
  }
  EXPECT_EQ(out.size(), 4u);
  EXPECT_FALSE(cutter.cut_at({1, 0}, as_bytes("abc"), 1, out).ok());
  EXPECT_FALSE(cutter.cut(as_bytes("abc"), 1, out).ok());
}

TEST(TokenDocumentFormat, SurvivesItsSchemasTextAndIndexesBySizes) {
  auto schema = schema_of(TokenSamples::kSequence);
  schema.modes = true;
  const auto again = TokenSchema::from_json(schema.json());
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->samples, TokenSamples::kSequence);
  EXPECT_TRUE(again->modes && again->by_idx());
  EXPECT_EQ((*shard_format(Format::kTokens, schema.json()))->fields().size(), 2u);
  for (const char* text : {R"({"files":"plain","dtype":"uint8","window":4,"samples":"sequence"})",
                           R"({"files":"plain","dtype":"uint8","window":0,"samples":"packed"})",
                           R"({"files":"plain","dtype":"uint8","window":4,"samples":"x"})",
                           R"({"files":"plain","dtype":"uint8","window":4,"samples":1})"}) {
    EXPECT_FALSE(TokenSchema::from_json(text).ok()) << text;
  }
  auto tables = std::make_shared<TokenTables>();
  tables->push_back(token_rows(documents_of({3, 2, 9, 1}), schema_of(TokenSamples::kDocument)));
  const auto format = make_token_document_format(schema_of(TokenSamples::kDocument), tables);
  const std::string bin = "abcdefghijklmno";
  for (uint64_t step : {1u, 4u, 100u}) {
    const auto found = *testing::run_indexer(*format->indexer(0, {.key = "x", .size = 15}, {.crc = true}), bin, step);
    EXPECT_EQ(found.samples, 4u);
    EXPECT_EQ(found.borders.back(), 15u);
    EXPECT_EQ(found.crcs.size(), found.borders.size() - 1);
  }
  EXPECT_EQ(testing::run_indexer(*format->indexer(0, {.key = "x", .size = 14}, {.crc = false}), bin, 1).status().code(),
            Code::kCorrupt);
}

}  // namespace
}  // namespace headrace
