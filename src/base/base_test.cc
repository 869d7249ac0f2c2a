// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <memory>
#include <numeric>
#include <vector>

#include "base/checked.h"
#include "base/crc32c.h"
#include "base/folded_crc.h"
#include "base/hash.h"
#include "base/result.h"
#include "base/stream_copy.h"
#include "base/unique_function.h"

namespace headrace {
namespace {

TEST(Crc32c, GivesThePublishedVectors) {
  // RFC 3720 B.4 and the CRC catalogue's check value.
  EXPECT_EQ(crc32c(as_bytes("123456789")), 0xE3069283u);
  const std::string zeros(32, '\0'), ones(32, '\xFF');
  EXPECT_EQ(crc32c(as_bytes(zeros)), 0x8A9136AAu);
  EXPECT_EQ(crc32c(as_bytes(ones)), 0x62A8AB43u);
}

TEST(Crc32c, OfTwoPartsIsTheJoinOfTheirs) {
  const std::string data(70'000, 'q');
  for (size_t b : {size_t{0}, size_t{1}, size_t{255}, size_t{256}, size_t{65'536}, size_t{70'000}}) {
    const std::string_view all(data), head = all.substr(0, data.size() - b), tail = all.substr(data.size() - b);
    EXPECT_EQ(crc32c_join(crc32c(as_bytes(head)), crc32c(as_bytes(tail)), b), crc32c(as_bytes(all))) << b;
  }
}

TEST(Crc32c, IsTheSameInOnePieceAndInMany) {
  std::string data(100'003, '\0');
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 131 + (i >> 7));
  // Small pieces never reach the three-stream path, the whole does.
  uint32_t piecewise = 0;
  for (size_t i = 0; i < data.size(); i += 977) {
    piecewise = crc32c(as_bytes(std::string_view(data).substr(i, 977)), piecewise);
  }
  EXPECT_EQ(crc32c(as_bytes(data)), piecewise);
}

// Pieces of 1 to 127 bytes are never folded, the whole is from 512 bytes on: every length of a tail, every alignment.
TEST(Crc32c, IsTheSameByEveryWayOfComputingIt) {
  std::string data(20'011, '\0');
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 131 + (i >> 7));
  for (size_t size = 0; size < 700; ++size) {
    const std::string_view part = std::string_view(data).substr(size % 67, size * 28);
    uint32_t piecewise = 0;
    for (size_t at = 0, piece = 1; at < part.size(); at += piece, piece = piece % 127 + 1) {
      piecewise = crc32c(as_bytes(part.substr(at, piece)), piecewise);
    }
    ASSERT_EQ(crc32c(as_bytes(part)), piecewise) << size;
  }
}

TEST(Crc64Nvme, GivesThePublishedVectors) {
  // The CRC catalogue's check value, and the test cases of the NVM Command Set Specification, blocks of 4 KiB:
  // zeros, ones, 00 01 02 ... FF repeated, the same descending.
  EXPECT_EQ(crc64nvme(as_bytes("123456789")), 0xAE8B14860A799888u);
  std::string block(4096, '\0');
  EXPECT_EQ(crc64nvme(as_bytes(block)), 0x6482D367EB22B64Eu);
  block.assign(4096, '\xFF');
  EXPECT_EQ(crc64nvme(as_bytes(block)), 0xC0DDBA7302ECA3ACu);
  for (size_t i = 0; i < block.size(); ++i) block[i] = static_cast<char>(i);
  EXPECT_EQ(crc64nvme(as_bytes(block)), 0x3E729F5F6750449Cu);
  for (size_t i = 0; i < block.size(); ++i) block[i] = static_cast<char>(255 - i);
  EXPECT_EQ(crc64nvme(as_bytes(block)), 0x9A2DF64B8E9E517Eu);
}

TEST(Crc32Ieee, GivesThePublishedVectorAndZlibsValues) {
  EXPECT_EQ(crc32_ieee(as_bytes("123456789")), 0xCBF43926u);
  const std::string zeros(4096, '\0');
  EXPECT_EQ(crc32_ieee(as_bytes(zeros)), 0xC71C0011u);  // zlib.crc32(bytes(4096))
  std::string data(100'003, '\0');
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 131 + (i >> 7));
  EXPECT_EQ(crc32_ieee(as_bytes(data)), 0x6C84114Cu);  // zlib's of the same bytes
}

TEST(FoldedCrc, IsTheSameInOnePieceAndInMany) {
  std::string data(20'011, '\0');
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 131 + (i >> 7));
  // Pieces of 1 to 127 bytes never reach the folding, the whole does; every length of a tail and every alignment.
  for (size_t size = 0; size < 700; ++size) {
    const std::string_view part = std::string_view(data).substr(size % 17, size * 28);
    uint64_t c64 = 0;
    uint32_t c32 = 0;
    for (size_t at = 0, piece = 1; at < part.size(); at += piece, piece = piece % 127 + 1) {
      c64 = crc64nvme(as_bytes(part.substr(at, piece)), c64);
      c32 = crc32_ieee(as_bytes(part.substr(at, piece)), c32);
    }
    ASSERT_EQ(crc64nvme(as_bytes(part)), c64) << size;
    ASSERT_EQ(crc32_ieee(as_bytes(part)), c32) << size;
  }
}

// Sizes around the lines, pages and steps in which it copies, every alignment of the target, nothing beside it touched.
TEST(StreamCopy, CopiesWhatMemcpyWould) {
  std::string source(300'000, '\0');
  for (size_t i = 0; i < source.size(); ++i) source[i] = static_cast<char>(i * 131 + (i >> 7));
  for (size_t size : {0u, 1u, 65'535u, 65'536u, 65'537u, 81'919u, 81'984u, 115'000u, 262'143u}) {
    for (size_t at = 0; at < 67; at += size < 1000 ? 1 : 11) {
      std::string target(at + size + 64, '#');
      stream_copy(reinterpret_cast<std::byte*>(target.data()) + at, as_bytes(source).data() + at % 13, size);
      ASSERT_EQ(target.substr(at, size), source.substr(at % 13, size)) << size << " at " << at;
      ASSERT_EQ(target.substr(0, at), std::string(at, '#'));
      ASSERT_EQ(target.substr(at + size), std::string(64, '#'));
    }
  }
}

TEST(Hash128, GivesXxhashsOwnValueForTheEmptyInput) {
  EXPECT_EQ(hash128({}).hex(), "99aa06d3014798d86001c324468d497f");  // xxhsum -H2 of an empty file
}

TEST(FieldHasher, TellsFieldBordersApart) {
  EXPECT_NE(FieldHasher().add("ab").add("c").hash(), FieldHasher().add("a").add("bc").hash());
}

TEST(Checked, RefusesOverflowAndOddNumbers) {
  EXPECT_FALSE(checked_add(~0ull, 1));
  EXPECT_FALSE(checked_mul(1ull << 40, 1ull << 40));
  EXPECT_FALSE(checked_round_up(~0ull - 3, 512));
  EXPECT_EQ(checked_round_up(513, 512), 1024u);
  EXPECT_EQ(parse_decimal("18446744073709551615"), ~0ull);
  for (const char* bad : {"", "+1", " 1", "1a", "18446744073709551616", "99999999999999999999"}) {
    EXPECT_FALSE(parse_decimal(bad)) << bad;
  }
}

TEST(Status, CopiesAndWhatWasMovedFromSayTheSame) {
  Status first = corrupt("the bytes");
  const Status copy = first;
  const Status moved = std::move(first);
  for (const Status* one : {&std::as_const(first), &copy, &moved}) {
    EXPECT_EQ(one->code(), Code::kCorrupt);
    EXPECT_EQ(one->message(), "the bytes");
  }
  EXPECT_EQ(copy, corrupt("the bytes"));
  EXPECT_FALSE(copy == corrupt("other bytes"));
  EXPECT_FALSE(copy == Status());
  first = copy.with_context("read");
  EXPECT_EQ(first.message(), "read: the bytes");
  EXPECT_EQ(copy.message(), "the bytes");
  first = {};
  EXPECT_TRUE(first.ok() && first.message().empty() && first == Status(Code::kOk, "ignored"));
}

TEST(Result, CarriesAStatusThroughTheMacros) {
  auto half = [](int x) -> Result<int> {
    if (x % 2) return invalid_argument("odd");
    return x / 2;
  };
  auto quarter = [&](int x) -> Result<int> {
    HR_TRY_ASSIGN(int h, half(x));
    return half(h);
  };
  EXPECT_EQ(*quarter(8), 2);
  EXPECT_EQ(quarter(6).status(), invalid_argument("odd"));
  EXPECT_EQ(quarter(6).status().with_context("quarter 6").message(), "quarter 6: odd");
}

TEST(UniqueFunction, HoldsMoveOnlyCallablesOfAnySize) {
  auto big = std::make_unique<std::vector<int>>(100, 1);
  char pad[64] = {2};
  UniqueFunction<int(int)> f = [big = std::move(big), pad](int x) {
    return std::accumulate(big->begin(), big->end(), x + pad[0]);
  };
  UniqueFunction<int(int)> g = std::move(f);
  EXPECT_FALSE(f);
  EXPECT_EQ(g(5), 107);
}

}  // namespace
}  // namespace headrace
