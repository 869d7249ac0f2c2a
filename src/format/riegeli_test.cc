// SPDX-License-Identifier: Apache-2.0
//
// Riegeli chunks against the specification's own numbers and against files that google's writer made.
#include "format/riegeli.h"

#include <gtest/gtest.h>

#include "format/testing_riegeli.h"

namespace headrace {
namespace {

using testing::chunk_bytes;
using testing::ChunkSpec;
using testing::simple_chunk;
using testing::varint;

// "This makes the first 64 bytes of a Riegeli/records file fixed".
const std::string_view kSignature{
    "\x83\xaf\x70\xd1\x0d\x88\x4a\x3f\x00\x00\x00\x00\x00\x00\x00\x00"
    "\x40\x00\x00\x00\x00\x00\x00\x00\x91\xba\xc2\x3c\x92\x87\xe1\xa9"
    "\x00\x00\x00\x00\x00\x00\x00\x00\xe1\x9f\x13\xc0\xe9\xb1\xc3\x72"
    "\x73\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
    64};

Result<std::vector<std::string>> records_of(uint64_t at, std::string_view bytes) {
  HR_TRY_ASSIGN(const RiegeliChunk chunk, read_riegeli_head(at, as_bytes(bytes)));
  SampleBatchView room;
  std::vector<Bytes> records;
  HR_TRY(read_riegeli_records(chunk, as_bytes(bytes), room, records));
  std::vector<std::string> out;
  for (const Bytes r : records) out.emplace_back(as_text(r));
  return out;
}

TEST(Riegeli, TheSignatureIsTheOneOfTheSpecification) {
  const auto chunk = read_riegeli_head(0, as_bytes(kSignature));
  ASSERT_TRUE(chunk.ok()) << chunk.status().message();
  EXPECT_EQ(chunk->type, 's');
  EXPECT_EQ(chunk->range, (ByteRange{0, 64}));
  EXPECT_EQ(chunk_bytes(0, {'s', 0, 0, ""}), kSignature);
}

// 0 -> 0, 1..25 -> 25, 26 -> 26, ..., 64K -> 64K, 64K+1..64K+25 -> 64K+25.
TEST(Riegeli, ChunksBeginNeitherInsideABlockHeaderNorRightBehindIt) {
  for (uint64_t at : {0, 25, 26, 65'535, 65'536, 65'561}) EXPECT_TRUE(is_riegeli_border(at)) << at;
  for (uint64_t at : {1, 24, 65'537, 65'560}) EXPECT_FALSE(is_riegeli_border(at)) << at;
}

// 65,512 bytes of a block are usable.
TEST(Riegeli, BytesEndBehindTheBlockHeadersBetweenThem) {
  EXPECT_EQ(riegeli_end(0, 0), 0u);
  EXPECT_EQ(riegeli_end(0, 40), 64u);
  EXPECT_EQ(riegeli_end(0, 65'512), 65'536u);
  EXPECT_EQ(riegeli_end(0, 65'513), 65'561u);
  EXPECT_EQ(riegeli_end(64, 65'472), 65'536u);
  EXPECT_EQ(riegeli_end(64, 65'473), 65'561u);
  EXPECT_EQ(riegeli_end(65'535, 1 + 2 * 65'512 + 1), 3u * 65'536 + 25);
  EXPECT_EQ(riegeli_end(64, UINT64_MAX), std::nullopt);
}

TEST(Riegeli, RecordsAreReadWhereverBlockHeadersInterruptTheirChunk) {
  const std::vector<std::string> want = {"first", "", std::string(70'000, 'x'), "last"};
  for (uint64_t at : {uint64_t{64}, uint64_t{65'536}, uint64_t{65'561}, uint64_t{65'535}, uint64_t{65'510}, uint64_t{65'496},
                      uint64_t{131'072 - 40}, uint64_t{131'072 - 41}, uint64_t{131'072 - 46}}) {
    const auto got = records_of(at, chunk_bytes(at, simple_chunk(want)));
    ASSERT_TRUE(got.ok()) << at << got.status().message();
    EXPECT_EQ(*got, want) << at;
  }
}

TEST(Riegeli, AChunkHasAtLeastAsManyBytesAsRecords) {
  const std::string bytes = chunk_bytes(64, {'r', 500, 0, '\0' + varint(500) + std::string(500, '\0')});
  EXPECT_EQ(bytes.size(), 40u + 503);
  // 500 sizes of one byte need 500 bytes anyway; compressed they would not.
  const std::string padded = chunk_bytes(64, {'r', 500, 0, "z"});
  EXPECT_EQ(padded.size(), 500u);
  EXPECT_EQ(read_riegeli_head(64, as_bytes(padded))->range, (ByteRange{64, 564}));
}

TEST(Riegeli, EveryFlippedBitOfAChunkIsFound) {
  const std::vector<std::string> want = {std::string(30, 'a'), "b"};
  const uint64_t at = 65'536 - 60;  // a block header inside its data
  std::string bytes = chunk_bytes(at, simple_chunk(want));
  ASSERT_EQ(*records_of(at, bytes), want);
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ 1 << bit % 8);
    const auto got = records_of(at, bytes);
    EXPECT_EQ(got.status().code(), Code::kCorrupt) << bit;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ 1 << bit % 8);
  }
  for (size_t n = 0; n < bytes.size(); ++n) EXPECT_FALSE(records_of(at, bytes.substr(0, n)).ok()) << n;
}

void expect_fault(const ChunkSpec& chunk, Code code, std::string_view part) {
  const auto got = records_of(64, chunk_bytes(64, chunk));
  EXPECT_EQ(got.status().code(), code) << got.status().message();
  EXPECT_NE(got.status().message().find(part), std::string::npos) << got.status().message();
}

TEST(Riegeli, WhatDoesNotFitIsAnErrorThatSaysWhat) {
  expect_fault({'t', 1, 1, "x"}, Code::kUnsupported, "without transpose:true");
  expect_fault({'q', 1, 1, "x"}, Code::kCorrupt, "its type 113 is not known");
  expect_fault({'r', 0, 0, ""}, Code::kCorrupt, "it has no data");
  expect_fault({'r', 1, 1, "l"}, Code::kUnsupported, "compression 108 is not known");
  expect_fault({'r', 1, 1, std::string("\0\5\1", 3)}, Code::kCorrupt, "its sizes end behind it");
  expect_fault({'r', 2, 1, std::string("\0\1\1x", 4)}, Code::kCorrupt, "its sizes have 1 bytes for 2 records");
  expect_fault({'r', 1, 2, std::string("\0\1\1x", 4)}, Code::kCorrupt, "its values have 1 bytes, its head says 2");
  expect_fault({'r', 1, 1, std::string("\0\1\2x", 4)}, Code::kCorrupt, "record 0 of 1 ends behind its values");
  expect_fault({'r', 1, 2, std::string("\0\1\1xy", 5)}, Code::kCorrupt, "bytes are left behind its 1 records");
  const auto misplaced = read_riegeli_head(65'540, as_bytes(kSignature));
  EXPECT_NE(misplaced.status().message().find("no chunk can begin there"), std::string::npos);
}

TEST(Riegeli, SizesThatAreOnlyClaimedTakeNoMemory) {
  const std::string huge = varint(uint64_t{1} << 60);
  // Snappy: one literal byte, of a stated size; then values that claim 2^60 bytes.
  const std::string sizes = varint(1) + std::string("\1\0\1", 3);
  expect_fault({'r', 1, 1, 's' + varint(sizes.size()) + sizes + huge}, Code::kExhausted, "its values");
  expect_fault({'r', 1, 1, 's' + varint(huge.size()) + huge}, Code::kExhausted, "its sizes");
  expect_fault({'r', 1, 1, "s\1\x80"}, Code::kCorrupt, "ends before its plain size");
  expect_fault({'r', 1, 3, 's' + varint(sizes.size()) + sizes + "\2\2\4xy"}, Code::kCorrupt, "its head says 3");
  expect_fault({'r', 1, 2, 's' + varint(sizes.size()) + sizes + std::string("\2\1\0x", 4)}, Code::kCorrupt,
               "its values");
  expect_fault({'r', 1, 1, 'z' + varint(3) + "\1xy"}, Code::kCorrupt, "its sizes");
}

}  // namespace
}  // namespace headrace
