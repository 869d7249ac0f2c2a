// SPDX-License-Identifier: Apache-2.0
#include "cache/disk_block.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <vector>

#include "base/crc32c.h"
#include "base/endian.h"

namespace headrace {
namespace {

DiskObject object(uint64_t size = 9) {
  return {"https://store.example/bucket", "train/a.tar", "0123abcd", "", size};
}

// The example of docs/cache.md. CRC-32C of "123456789" is E3069283 (RFC 3720's check value).
TEST(DiskBlock, TheHeaderIsAsDocumentedToTheByte) {
  std::array<std::byte, kDiskHeaderBytes> header;
  encode_block_header(object(), 0, as_bytes("123456789"), header);
  const auto text = as_text(header);
  EXPECT_EQ(text.substr(0, 8), "HRBLOCK1");
  EXPECT_EQ(load_le<uint32_t>(header.data() + 12), 524288u);
  EXPECT_EQ(load_le<uint32_t>(header.data() + 16), 65536u);
  EXPECT_EQ(load_le<uint32_t>(header.data() + 20), 9u);
  EXPECT_EQ(load_le<uint64_t>(header.data() + 24), 0u);
  EXPECT_EQ(load_le<uint64_t>(header.data() + 32), 9u);
  EXPECT_EQ(load_le<uint16_t>(header.data() + 40), 28u);
  EXPECT_EQ(load_le<uint16_t>(header.data() + 42), 11u);
  EXPECT_EQ(load_le<uint16_t>(header.data() + 44), 8u);
  EXPECT_EQ(load_le<uint16_t>(header.data() + 46), 0u);
  EXPECT_EQ(load_le<uint32_t>(header.data() + 48), 0xE3069283u);
  EXPECT_EQ(text.substr(80, 47), "https://store.example/buckettrain/a.tar0123abcd");
  for (size_t at = 127; at < header.size(); ++at) ASSERT_EQ(header[at], std::byte{0}) << at;
  EXPECT_TRUE(check_block_header(header, object(), 0).ok());
}

TEST(DiskBlock, EveryBitOfTheHeaderCounts) {
  std::array<std::byte, kDiskHeaderBytes> header;
  encode_block_header(object(), 0, as_bytes("123456789"), header);
  for (size_t at = 0; at < header.size(); ++at) {
    for (int bit : {0, 7}) {
      header[at] ^= std::byte{1} << bit;
      EXPECT_EQ(check_block_header(header, object(), 0).code(), Code::kCorrupt) << at;
      header[at] ^= std::byte{1} << bit;
    }
  }
}

TEST(DiskBlock, ABlockOfAnythingElseIsRefused) {
  const DiskObject wanted = object(3 * kDiskBlockBytes);
  const std::string payload(kDiskBlockBytes, 'x');
  std::array<std::byte, kDiskHeaderBytes> header;
  encode_block_header(wanted, 1, as_bytes(payload), header);
  EXPECT_TRUE(check_block_header(header, wanted, 1).ok());
  EXPECT_EQ(check_block_header(header, wanted, 2).code(), Code::kCorrupt);
  std::vector<DiskObject> others(6, wanted);
  others[0].store += "2";
  others[1].key = "train/b.tar";
  others[2].etag = "0123abce";
  others[3].version_id = "v1";
  others[4].size += 1;
  // The same letters, cut elsewhere.
  others[5].key = "train/a.ta";
  others[5].etag = "r0123abcd";
  for (const DiskObject& other : others) {
    EXPECT_EQ(check_block_header(header, other, 1).code(), Code::kCorrupt) << other.key << other.etag;
    EXPECT_NE(other.hash(), wanted.hash());
  }
}

// A header can say lengths that end behind its page, with a right CRC.
TEST(DiskBlock, NamesThatNoHeaderHasRoomForAreRefusedBeforeTheyAreCompared) {
  const DiskObject wanted{"", std::string(kDiskHeaderBytes - 80 + 1, 'k'), "", "", 9};
  std::vector<std::byte> header(kDiskHeaderBytes, std::byte{'k'});  // on the heap: ASan sees where it ends
  encode_block_header({"", "k", "", "", 9}, 0, as_bytes("123456789"), header);
  std::memset(header.data() + 80, 'k', header.size() - 80);
  store_le<uint16_t>(header.data() + 42, static_cast<uint16_t>(wanted.key.size()));
  store_le<uint32_t>(header.data() + 8, crc32c(Bytes(header).subspan(12)));
  EXPECT_EQ(check_block_header(header, wanted, 0).code(), Code::kCorrupt);
}

TEST(DiskBlock, EachCellHasItsOwnCrc) {
  std::string payload(kDiskBlockBytes, 'x');
  std::array<std::byte, kDiskHeaderBytes> header;
  encode_block_header(object(kDiskBlockBytes), 0, as_bytes(payload), header);
  EXPECT_TRUE(check_block_cells(header, 0, as_bytes(payload)).ok());
  for (uint32_t cell = 0; cell < kDiskCells; ++cell) {
    payload[cell * kDiskCellBytes + 17] ^= 4;
    EXPECT_EQ(check_block_cells(header, 0, as_bytes(payload)).code(), Code::kCorrupt);
    const Bytes after = as_bytes(payload).subspan((cell + 1) * size_t{kDiskCellBytes});
    EXPECT_TRUE(check_block_cells(header, cell + 1, after).ok());  // others are not touched
    payload[cell * kDiskCellBytes + 17] ^= 4;
  }
}

TEST(DiskBlock, BlocksCoverTheObject) {
  EXPECT_EQ(object(1).blocks(), 1u);
  EXPECT_EQ(object(kDiskBlockBytes).blocks(), 1u);
  const DiskObject two = object(kDiskBlockBytes + 1ull);
  EXPECT_EQ(two.blocks(), 2u);
  EXPECT_EQ(two.block_range(0), (ByteRange{0, kDiskBlockBytes}));
  EXPECT_EQ(two.block_range(1), (ByteRange{kDiskBlockBytes, kDiskBlockBytes + 1ull}));
}

TEST(DiskBlock, FoldersAreThoseOfTheKeys) {
  DiskObject a = object(), b = object();
  b.key = "train/b.tar";
  EXPECT_EQ(a.folder_hash(), b.folder_hash());
  b.key = "val/a.tar";
  EXPECT_NE(a.folder_hash(), b.folder_hash());
  a.key = std::string(4000, 'k');
  EXPECT_FALSE(a.fits_header());
}

}  // namespace
}  // namespace headrace
