// SPDX-License-Identifier: Apache-2.0
//
// Files of tokens: which windows they have, by index and from front to back, what is refused, and
// where documents begin. Heads are those of the writers' sources, byte by byte.
#include "format/tokens.h"

#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "base/endian.h"
#include "format/testing_index.h"

namespace headrace {
namespace {

using testing::run_indexer;

constexpr uint64_t kNoMax = uint64_t{1} << 40;

TokenSchema plain(uint64_t window, MdsDtype dtype = MdsDtype::kUint16) {
  TokenSchema schema;
  schema.window = window;
  schema.dtype = dtype;
  return schema;
}
std::string counted(uint64_t tokens) {  // 0, 1, 2, ... as uint16
  std::string text;
  for (uint64_t i = 0; i < tokens; ++i) text += {static_cast<char>(i), static_cast<char>(i >> 8)};
  return text;
}
std::string i32(int32_t n) {
  std::string out(4, '\0');
  store_le(out.data(), n);
  return out;
}
std::string llmc(int32_t magic, int32_t version, int32_t count) {
  std::string head = i32(magic) + i32(version) + i32(count);
  head.resize(kLlmcHeaderBytes);
  return head;
}

TEST(TokenIndexer, WindowsDoNotOverlapAndTheRestIsLeftOut) {
  const std::string text = counted(25);
  const auto found = run_indexer(*make_token_indexer(plain(4), text.size(), {.crc = false}), text, 7);
  ASSERT_TRUE(found.ok()) << found.status().message();
  EXPECT_EQ(found->samples, 6u);
  EXPECT_EQ(found->stride, 8'192u);  // 64 KiB of windows of 8 bytes
  EXPECT_EQ(found->borders, (std::vector<uint64_t>{0, 48}));
  EXPECT_TRUE(found->crcs.empty());
  EXPECT_EQ(found->fields, (std::vector<FieldEntry>{{"tokens", 6}}));
  EXPECT_EQ(make_token_indexer(plain(4), 50, {.crc = false})->next({})->done->samples, 6u);  // nothing is read
  EXPECT_EQ(make_token_indexer(plain(40), 50, {.crc = false})->next({})->done->samples, 0u);
}

TEST(TokenIndexer, WithChecksumsAllIsRead) {
  const std::string text = counted(300'000);  // windows of 32 KiB: a stride of two
  for (uint64_t chunk : {1'000u, 65'536u, 1'000'000u}) {
    const auto found = run_indexer(*make_token_indexer(plain(16'384), text.size()), text, chunk);
    ASSERT_TRUE(found.ok());
    EXPECT_EQ(found->samples, 18u);
    EXPECT_EQ(found->stride, 2u);
    ASSERT_EQ(found->crcs.size(), 9u);
    for (size_t k = 0; k < 9; ++k) {
      EXPECT_EQ(found->crcs[k], crc32c(as_bytes(std::string_view(text).substr(k * 65'536, 65'536))));
    }
    EXPECT_EQ(found->checksum, crc32c_text(crc32c(as_bytes(text))));
  }
}

TEST(TokenIndexer, SizesAndHeadersThatDoNotFitAreCorrupt) {
  EXPECT_EQ(make_token_indexer(plain(4), 51)->next({}).status().code(), Code::kCorrupt);
  TokenSchema schema = plain(4);
  schema.files = TokenFiles::kLlmc;
  const std::string text = llmc(20240520, 1, 10) + counted(10);
  const auto found = run_indexer(*make_token_indexer(schema, text.size(), {.crc = false}), text, 100);
  ASSERT_TRUE(found.ok()) << found.status().message();
  EXPECT_EQ(found->borders, (std::vector<uint64_t>{1'024, 1'040}));
  const auto whole = run_indexer(*make_token_indexer(schema, text.size()), text, 100);
  EXPECT_EQ(whole->crcs, std::vector<uint32_t>{crc32c(as_bytes(std::string_view(text).substr(1'024, 16)))});
  const auto fault = [&](const std::string& bad) {
    return run_indexer(*make_token_indexer(schema, bad.size(), {.crc = false}), bad, 4'096).status();
  };
  EXPECT_NE(fault(text + "ab").message().find("says 10 tokens, which are 20 bytes behind it; there are 22"),
            std::string::npos)
      << fault(text + "ab").message();
  EXPECT_EQ(fault(llmc(20240520, 2, 10) + counted(10)).code(), Code::kCorrupt);
  EXPECT_EQ(fault(llmc(20240801, 7, 5) + counted(10)).code(), Code::kCorrupt);  // 4-byte tokens
  EXPECT_EQ(fault(text.substr(0, 1'000)).code(), Code::kCorrupt);
}

TEST(TokenScanner, GivesTheWindowsFromAnywhere) {
  TokenSchema schema = plain(4);
  schema.files = TokenFiles::kLlmc;
  const std::string text = llmc(20240520, 1, 10) + counted(10);
  const auto format = make_token_format(schema);
  for (size_t step : {1, 3, 5'000}) {
    for (uint64_t row : {0, 1}) {
      const uint64_t begin = row == 0 ? 0 : 1'024 + row * 8;
      const auto scanner = format->scanner(0, {begin, row, kNoMax});
      std::vector<ByteRange> samples;
      for (uint64_t at = begin; at < text.size();) {
        const auto got = scanner->next(as_bytes(std::string_view(text).substr(at, step)));
        ASSERT_TRUE(got.ok()) << got.status().message();
        at += got->used;
        if (got->sample) samples.push_back(*got->sample);
        EXPECT_LE(scanner->keep_from(), scanner->at());
      }
      EXPECT_TRUE(scanner->finish().ok());
      const std::vector<ByteRange> all{{1'024, 1'032}, {1'032, 1'040}};
      EXPECT_EQ(samples, std::vector<ByteRange>(all.begin() + static_cast<long>(row), all.end()));
    }
  }
  EXPECT_EQ(format->scanner(0, {0, 0, 7})->next(as_bytes(text)).status().code(), Code::kExhausted);
  EXPECT_EQ(format->scanner(0, {0, 0, kNoMax})->next(as_bytes(std::string(2'000, 'x'))).status().code(),
            Code::kCorrupt);
  const auto cut = format->scanner(0, {0, 0, kNoMax});
  ASSERT_TRUE(cut->next(as_bytes(std::string_view(text).substr(0, 1'025))).ok());
  EXPECT_EQ(cut->finish().status().code(), Code::kCorrupt);
}

std::vector<int32_t> boundaries(const TokenSchema& schema, const std::string& tokens, uint64_t row) {
  SampleBatchView view;
  const TokenCutter cutter(schema);
  const Status status = cutter.cut(as_bytes(tokens), tokens.size() / schema.window_bytes(), view);
  EXPECT_TRUE(status.ok()) << status.message();
  const auto array =
      read_mds_ndarray(view[row].find("cu_seqlens")->bytes, parse_mds_encoding("ndarray:int32").value());
  EXPECT_TRUE(array.ok()) << array.status().message();
  std::vector<int32_t> out;
  for (uint64_t i = 0; i < array->shape[0]; ++i) out.push_back(load_le<int32_t>(array->values.data() + 4 * i));
  return out;
}

TEST(TokenCutter, DocumentsEndAtTheTokenThatEndsThem) {
  TokenSchema schema = plain(5, MdsDtype::kInt32);
  schema.eos = -1;
  const std::string tokens = i32(7) + i32(-1) + i32(8) + i32(-1) + i32(9)     // inside
                             + i32(-1) + i32(1) + i32(2) + i32(3) + i32(-1);  // first and last
  EXPECT_EQ(boundaries(schema, tokens, 0), (std::vector<int32_t>{0, 2, 4, 5}));
  EXPECT_EQ(boundaries(schema, tokens, 1), (std::vector<int32_t>{0, 1, 5}));
  schema = plain(1);
  schema.eos = 3;
  EXPECT_EQ(boundaries(schema, counted(4), 3), (std::vector<int32_t>{0, 1}));
  SampleBatchView view;
  const std::string six = counted(6);
  ASSERT_TRUE(TokenCutter(plain(3)).cut(as_bytes(six), 2, view).ok());
  EXPECT_EQ(as_text(view[1].fields[0].bytes), std::string_view("\3\0\4\0\5\0", 6));
  EXPECT_EQ(view[0].fields.size(), 1u);
  EXPECT_EQ(TokenCutter(plain(3)).cut(as_bytes(counted(6)), 3, view).code(), Code::kCorrupt);
  EXPECT_EQ(TokenCutter(plain(4)).cut(as_bytes(counted(6)), 1, view).code(), Code::kCorrupt);
}

TEST(TokenHeads, SayTheDtype) {
  EXPECT_EQ(llmc_dtype(as_bytes(llmc(20240520, 1, 0))), MdsDtype::kUint16);
  EXPECT_EQ(llmc_dtype(as_bytes(llmc(20240801, 7, 0))), MdsDtype::kUint32);
  EXPECT_EQ(llmc_dtype(as_bytes(llmc(20240520, 3, 0))), std::nullopt);
  EXPECT_EQ(llmc_dtype(as_bytes(std::string(1'023, '\0'))), std::nullopt);
  const auto idx = [](char version, char code) {
    std::string head("MMIDIDX\0\0\0\0\0\0\0\0\0\0", 17);
    head[9] = version;
    return head + code + std::string(16, '\0');
  };
  EXPECT_EQ(*megatron_dtype(as_bytes(idx(1, 8))), MdsDtype::kUint16);
  EXPECT_EQ(*megatron_dtype(as_bytes(idx(1, 4))), MdsDtype::kInt32);
  EXPECT_EQ(megatron_dtype(as_bytes(idx(2, 4))).status().code(), Code::kUnsupported);
  EXPECT_EQ(megatron_dtype(as_bytes(idx(1, 7))).status().code(), Code::kUnsupported);  // float32
  EXPECT_EQ(megatron_dtype(as_bytes(idx(1, 0))).status().code(), Code::kUnsupported);
  EXPECT_EQ(megatron_dtype(as_bytes(idx(1, 4).substr(1))).status().code(), Code::kCorrupt);
  EXPECT_EQ(megatron_dtype(as_bytes(idx(1, 4).substr(0, 33))).status().code(), Code::kCorrupt);
  EXPECT_NE(token_dtype_of("float32").status().message().find("uint8, int8, int16"), std::string::npos);
}

TEST(TokenSchema, SurvivesItsText) {
  TokenSchema schema = plain(1'025, MdsDtype::kUint32);
  schema.files = TokenFiles::kLlmc;
  schema.eos = 50'256;
  const auto format = *shard_format(Format::kTokens, schema.json());
  EXPECT_EQ(format->schema_json(), schema.json());
  EXPECT_EQ(format->columns()[0].encoding.name, "ndarray:uint32:1025");
  EXPECT_EQ(format->columns()[1].name, "cu_seqlens");
  EXPECT_EQ(make_token_format(plain(3))->columns().size(), 1u);
  for (const char* bad :
       {"", "[]", R"({"files":"x","dtype":"uint16","window":4})", R"({"files":"plain","dtype":"str","window":4})",
        R"({"files":"plain","dtype":"uint16","window":0})", R"({"files":"plain","dtype":"uint16"})",
        R"({"files":"plain","dtype":"uint16","window":99999999999})",
        R"({"files":"plain","dtype":"uint16","window":4,"eos":"x"})"}) {
    EXPECT_FALSE(TokenSchema::from_json(bad).ok()) << bad;
  }
}

}  // namespace
}  // namespace headrace
