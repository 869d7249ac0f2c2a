// SPDX-License-Identifier: Apache-2.0
//
// An MDS shard from front to back gives the samples that its table of offsets says, from any sample
// on; every cut and every change of its frame is an error, every flip where a hash is listed.
#include <gtest/gtest.h>

#include "base/hash.h"
#include "format/mds.h"

namespace headrace {
namespace {

constexpr uint64_t kNoMax = uint64_t{1} << 40;

std::string u32(uint64_t n) {
  std::string out;
  for (int shift : {0, 8, 16, 24}) out += static_cast<char>(n >> shift);
  return out;
}
MdsSchema schema() {
  return {{{"n", *parse_mds_encoding("int")}, {"w", *parse_mds_encoding("str")}}};
}

// Samples of i bytes of text, behind a table, a config and a gap.
struct Shard {
  explicit Shard(uint64_t samples) {
    std::string body;
    const uint64_t first = 4 * (2 + samples) + 7;
    text = u32(samples) + u32(first);
    for (uint64_t i = 0; i < samples; ++i) {
      const uint64_t begin = first + body.size();
      body += u32(i) + std::string(8, static_cast<char>(i)) + std::string(i, 'w');
      ranges.push_back({begin, first + body.size()});
      text += u32(first + body.size());
    }
    text += "{conf} " + body;
    facts = {.basename = "s.mds", .bytes = text.size(), .samples = samples};
  }
  std::string text;
  std::vector<ByteRange> ranges;
  MdsShard facts;
};

struct Scanned {
  std::vector<ByteRange> ranges;
  Status status;
};
Scanned scan(const MdsShard& facts, const std::string& text, size_t step, ScanStart start = {0, 0, kNoMax},
             const MdsSchema& columns = schema()) {
  Scanned out;
  const auto scanner = make_mds_scanner(facts, columns, start);
  for (uint64_t at = start.begin; at < text.size();) {
    auto got = scanner->next(as_bytes(std::string_view(text).substr(at, step)));
    if (!got.ok()) {
      out.status = got.status();
      return out;
    }
    at += got->used;
    EXPECT_EQ(scanner->at(), at);
    EXPECT_LE(scanner->keep_from(), at);
    if (got->sample) out.ranges.push_back(*got->sample);
    if (got->used == 0 && !got->sample) break;
  }
  out.status = scanner->finish().status();
  return out;
}

TEST(MdsScanner, GivesTheSamplesOfTheTable) {
  for (uint64_t samples : {0, 1, 2, 30}) {
    const Shard shard(samples);
    for (size_t step : {1, 3, 64, 100'000}) {
      const Scanned got = scan(shard.facts, shard.text, step);
      EXPECT_TRUE(got.status.ok()) << got.status.message();
      EXPECT_EQ(got.ranges, shard.ranges);
    }
  }
}

TEST(MdsScanner, BeginsAtEverySample) {
  const Shard shard(9);
  for (size_t row = 0; row < 9; ++row) {
    const Scanned got = scan(shard.facts, shard.text, 5, {shard.ranges[row].begin, row, kNoMax});
    EXPECT_TRUE(got.status.ok()) << got.status.message();
    EXPECT_EQ(got.ranges, std::vector<ByteRange>(shard.ranges.begin() + static_cast<long>(row), shard.ranges.end()));
  }
}

TEST(MdsScanner, FixedColumnsAloneNeedNoHead) {
  const MdsSchema fixed{{{"n", *parse_mds_encoding("uint16")}}};
  const std::string text = u32(3) + u32(20) + u32(22) + u32(24) + u32(26) + "aabbcc";
  const Scanned got = scan({.basename = "s", .bytes = 26, .samples = 3}, text, 4, {0, 0, kNoMax}, fixed);
  EXPECT_TRUE(got.status.ok()) << got.status.message();
  EXPECT_EQ(got.ranges, (std::vector<ByteRange>{{20, 22}, {22, 24}, {24, 26}}));
}

TEST(MdsScanner, EveryCutIsAnError) {
  const Shard shard(5);
  for (size_t n = 0; n < shard.text.size(); ++n) {
    const Scanned got = scan(shard.facts, shard.text.substr(0, n), 16);
    EXPECT_EQ(got.status.code(), Code::kCorrupt) << n;
    EXPECT_TRUE(std::equal(got.ranges.begin(), got.ranges.end(), shard.ranges.begin()));
  }
  EXPECT_EQ(scan(shard.facts, shard.text + "x", 16).status.code(), Code::kCorrupt);
}

TEST(MdsScanner, FaultsNameTheSample) {
  const Shard shard(5);
  const auto fault = [&](size_t at, uint32_t value, uint64_t max = kNoMax) {
    std::string damaged = shard.text;
    damaged.replace(at, 4, u32(value));
    return scan(shard.facts, damaged, 16, {0, 0, max}).status;
  };
  EXPECT_NE(fault(0, 6).message().find("has 6 samples, index.json says 5"), std::string::npos);
  EXPECT_NE(fault(4, 27).message().find("sample 0 begins at byte 27"), std::string::npos);
  EXPECT_NE(fault(4, 27'000).message().find("sample 0 begins"), std::string::npos);
  const Status size = fault(shard.ranges[2].begin, 4'000'000'000);
  EXPECT_EQ(size.code(), Code::kCorrupt);
  EXPECT_NE(size.message().find("MDS sample 2 at byte " + std::to_string(shard.ranges[2].begin)), std::string::npos);
  EXPECT_EQ(fault(0, 5, 14).code(), Code::kExhausted);  // sample 3 has 15 bytes
}

TEST(MdsScanner, AListedHashFindsEveryFlip) {
  Shard shard(4);
  shard.facts.hashes = {{"sha1", "00"}, {"xxh3_128", hash128(as_bytes(shard.text)).hex()}};
  EXPECT_TRUE(scan(shard.facts, shard.text, 7).status.ok()) << scan(shard.facts, shard.text, 7).status.message();
  for (size_t bit = 0; bit < shard.text.size() * 8; ++bit) {
    std::string damaged = shard.text;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    EXPECT_EQ(scan(shard.facts, damaged, 50).status.code(), Code::kCorrupt) << bit;
  }
}

}  // namespace
}  // namespace headrace
