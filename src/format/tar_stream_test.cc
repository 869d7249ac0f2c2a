// SPDX-License-Identifier: Apache-2.0
//
// The scanner finds the samples that the indexer finds, however the bytes are cut and wherever it
// begins.
#include "format/tar_stream.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "format/decoder.h"
#include "format/testing_tar.h"

namespace headrace {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using testing::tar_member;
using testing::TarFields;

constexpr uint64_t kNoMax = 1 << 30;

std::string member(const std::string& name, size_t size) {
  return tar_member(TarFields{name}, std::string(size, 'b'));
}

struct Scanned {
  std::vector<ByteRange> samples;
  Status status;
};
Scanned scan(const std::string& tar, size_t step, uint64_t begin = 0, uint64_t max = kNoMax) {
  Scanned out;
  TarScanner scanner(begin, max);
  for (uint64_t at = begin; at < tar.size();) {
    auto got = scanner.next(as_bytes(std::string_view(tar).substr(at, step)));
    if (!got.ok()) {
      out.status = got.status();
      return out;
    }
    at += got->used;
    EXPECT_EQ(scanner.at(), at);
    EXPECT_LE(scanner.keep_from(), at);
    if (got->sample) out.samples.push_back(*got->sample);
  }
  auto last = scanner.finish();
  out.status = last.status();
  if (last.ok() && *last) out.samples.push_back(**last);
  return out;
}

std::string read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

// offset and length in expected.jsonl are Python tarfile's, in the decompressed tar.
void expect_fixture(const std::string& name) {
  const fs::path folder = fs::path(HR_SOURCE_DIR) / "tests/fixtures" / name;
  std::map<std::string, std::vector<ByteRange>> expected;
  std::ifstream lines(folder / "expected.jsonl");
  for (std::string line; std::getline(lines, line);) {
    const Json sample = Json::parse(line);
    const uint64_t offset = sample["offset"], length = sample["length"];
    expected[sample["shard"]].push_back({offset, offset + length});
  }
  ASSERT_FALSE(expected.empty()) << name;
  for (const auto& [shard, ranges] : expected) {
    std::string stored = read_file(folder / "data" / shard), tar(4 << 20, '\0');
    auto decoder = make_decoder(compression_of_key(shard), {});
    ASSERT_TRUE(decoder.ok());
    auto step =
        (*decoder)->step(as_bytes(stored), {reinterpret_cast<std::byte*>(tar.data()), tar.size()});
    ASSERT_TRUE(step.ok()) << step.status().message();
    EXPECT_EQ(step->used, stored.size());
    EXPECT_TRUE((*decoder)->finish().ok());
    tar.resize(step->made);
    for (size_t n : {1, 511, 513, 1 << 20}) {
      const Scanned got = scan(tar, n);
      EXPECT_TRUE(got.status.ok()) << shard << ": " << got.status.message();
      EXPECT_EQ(got.samples, ranges) << shard << " cut every " << n;
    }
    // From any sample on.
    const size_t half = ranges.size() / 2;
    EXPECT_EQ(scan(tar, 4096, ranges[half].begin).samples,
              std::vector(ranges.begin() + half, ranges.end()));
  }
}

TEST(TarScanner, FindsWhatTarfileFound) {
  for (const char* name :
       {"wds-shardwriter", "wds-shardwriter-gz", "wds-shardwriter-zst", "wds-tar-flavours"}) {
    expect_fixture(name);
  }
}

TEST(TarScanner, EveryTruncationIsAnErrorOrAnEarlierEnd) {
  const std::string tar =
      member("a.x", 600) + member("a.y", 10) + member("b.x", 0) + std::string(1024, '\0');
  const std::vector<ByteRange> all = {{0, 2560}, {2560, 3072}};
  EXPECT_EQ(scan(tar, 700).samples, all);
  for (size_t n = 1; n < tar.size(); ++n) {
    const Scanned got = scan(tar.substr(0, n), 100);
    const bool between = n == 1536 || n == 2560 || n == 3072;  // end blocks may be missing
    const bool in_end = n >= 3584;                             // the first end block is whole
    EXPECT_EQ(got.status.ok(), between || in_end) << n;
    if (!got.status.ok()) {
      EXPECT_NE(got.status.message().find("cut off?"), std::string::npos);
    }
  }
}

TEST(TarScanner, WhatIsNotATarIsAnError) {
  EXPECT_EQ(scan(std::string(1024, 'x'), 100).status.code(), Code::kCorrupt);
  const std::string tar = member("a.x", 5) + std::string(1024, '\0');
  EXPECT_NE(scan(tar + tar, 100).status.message().find("a second archive or garbage"),
            std::string::npos);
  std::string damaged = tar;
  damaged[3] ^= 1;
  EXPECT_NE(scan(damaged, 100).status.message().find("checksum"), std::string::npos);
}

TEST(TarScanner, ALargeSampleIsRefusedAtItsHeader) {
  const auto sized = [](std::string size_field) {
    return tar_member(TarFields{"a.y", "", '0', TarFields{}.magic, std::move(size_field)}, "");
  };
  const std::string tar = member("a.x", 600) + sized("77777777777");
  const Status status = scan(tar, 1 << 20, 0, 1 << 20).status;
  EXPECT_EQ(status.code(), Code::kExhausted) << status.message();
  EXPECT_NE(status.message().find("the sample that begins at byte 0"), std::string::npos)
      << status.message();
  // Sizes at the end of 64 bits: no overflow.
  EXPECT_FALSE(scan(sized(std::string("\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", 12)), 1 << 20)
                   .status.ok());
}

TEST(TarScanner, MembersOfNoSampleAreKeptOnlyInsideOne) {
  const std::string tar = member("README", 5000) + member("a.x", 5) + member("__meta__/m", 5) +
                          member("a.y", 5) + member("README", 5000) + member("b.x", 5);
  const std::vector<ByteRange> expected = {{5632, 8704}, {14336, 15360}};
  EXPECT_EQ(scan(tar, 333).samples, expected);
  TarScanner scanner(0, kNoMax);
  ASSERT_TRUE(scanner.next(as_bytes(std::string_view(tar).substr(0, 3000))).ok());
  EXPECT_EQ(scanner.keep_from(), 3000u);  // the README is not needed
}

}  // namespace
}  // namespace headrace
