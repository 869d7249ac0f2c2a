// SPDX-License-Identifier: Apache-2.0
//
// Lines are what Python's bytes.splitlines-by-"\n" says, for the index and from front to back,
// however the bytes are cut.
#include "format/lines.h"

#include <gtest/gtest.h>

#include <random>

#include "base/crc32c.h"
#include "format/testing_index.h"

namespace headrace {
namespace {

using testing::run_indexer;

constexpr uint64_t kNoMax = uint64_t{1} << 40;

struct Scanned {
  std::vector<std::string> samples;
  std::vector<ByteRange> ranges;
  Status status;
};
Scanned scan(const std::string& text, size_t step, LineRules rules = {}, ScanStart start = {0, 0, kNoMax}) {
  Scanned out;
  const auto scanner = make_line_scanner(std::move(rules), start);
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
  }
  auto last = scanner->finish();
  out.status = last.status();
  if (last.ok() && *last) out.ranges.push_back(**last);
  for (const ByteRange& r : out.ranges) out.samples.push_back(text.substr(r.begin, r.size()));
  return out;
}

const std::string kText = "\xEF\xBB\xBF{1}\r\n\n{22}\n   \t\r\n\xEF\xBB\xBF \n{}\n\n{333}";
const std::vector<std::string> kSamples = {"\xEF\xBB\xBF{1}\r\n", "{22}\n", "{}\n", "{333}"};

TEST(LineScanner, BlankLinesAreNoSamples) {
  for (size_t step : {1, 2, 3, 7, 1000}) EXPECT_EQ(scan(kText, step).samples, kSamples) << step;
  EXPECT_TRUE(scan("", 10).samples.empty());
  EXPECT_TRUE(scan("\n \n\r\n", 10).samples.empty());
  EXPECT_EQ(scan("\xEF\xBB\n\xEF\n", 1).samples, (std::vector<std::string>{"\xEF\xBB\n", "\xEF\n"}));
}

TEST(LineScanner, BeginsAtEverySample) {
  const Scanned whole = scan(kText, 5);
  for (size_t i = 0; i < kSamples.size(); ++i) {
    const Scanned rest = scan(kText, 5, {}, {whole.ranges[i].begin, i, kNoMax});
    EXPECT_EQ(rest.ranges, std::vector<ByteRange>(whole.ranges.begin() + i, whole.ranges.end()));
  }
}

TEST(LineScanner, OtherNewlinesHeadersAndCounts) {
  for (size_t step : {1, 2, 3, 4, 100}) {
    EXPECT_EQ(scan("a||b|c|||||d", step, {.newline = "||", .skip_blank = false}).samples,
              (std::vector<std::string>{"a||", "b|c||", "||", "|d"}))
        << step;
    EXPECT_EQ(scan("x;y\r\n1;2\r\n3;4\r\n", step, {.newline = "\r\n", .header_lines = 1, .samples = 2}).samples,
              (std::vector<std::string>{"1;2\r\n", "3;4\r\n"}));
  }
  const Status fewer = scan("a\nb\n", 3, {.samples = 3}).status;
  EXPECT_EQ(fewer.code(), Code::kCorrupt);
  EXPECT_NE(fewer.message().find("2 lines, index.json says 3"), std::string::npos) << fewer.message();
  EXPECT_EQ(scan("a\nb\n", 3, {.samples = 1}).status.code(), Code::kCorrupt);
  EXPECT_EQ(scan("a\nb\nc\n", 9, {.samples = 3}, {2, 1, kNoMax}).samples.size(), 2u);
}

TEST(LineScanner, LongLinesAreRefusedByTheirNumber) {
  for (size_t step : {1, 5, 1000}) {
    const Scanned got = scan("a\nb\n" + std::string(100, 'x') + "\nc\n", step, {}, {0, 0, 50});
    EXPECT_EQ(got.samples, std::vector<std::string>()) << "of a failed scan only ranges are kept";
    EXPECT_EQ(got.ranges.size(), 2u);
    EXPECT_EQ(got.status.code(), Code::kExhausted);
    EXPECT_NE(got.status.message().find("line 3, at byte 4, has more than 50 bytes"), std::string::npos)
        << got.status.message();
  }
}

TEST(LineIndexer, StridesHoldTheLinesAndTheBlanksBehindThem) {
  for (size_t chunk : {1, 3, 8, 1000}) {
    const auto found = run_indexer(*make_line_indexer({}, kText.size(), {{"line", 0}}), kText, chunk);
    ASSERT_TRUE(found.ok()) << found.status().message();
    EXPECT_EQ(found->samples, 4u);
    ASSERT_EQ(found->borders, (std::vector<uint64_t>{0, 9, 25, 29, 34}));
    for (size_t k = 0; k < 4; ++k) {
      const auto part = kText.substr(found->borders[k], found->borders[k + 1] - found->borders[k]);
      EXPECT_EQ(found->crcs[k], crc32c(as_bytes(part))) << k;
    }
    EXPECT_EQ(found->checksum, crc32c_text(crc32c(as_bytes(kText))));
    EXPECT_EQ(found->fields, (std::vector<FieldEntry>{{"line", 4}}));
  }
}

TEST(LineIndexer, AgreesWithTheScannerOnRandomText) {
  std::mt19937_64 rng(3);
  for (int round = 0; round < 300; ++round) {
    std::string text;
    const size_t size = rng() % 60;
    while (text.size() < size) text += "\n\n a\r\xEF\xBB\xBF"[rng() % 9];
    const uint64_t stride = 1u << rng() % 3;
    const auto found = run_indexer(*make_line_indexer({}, text.size(), {}, {.stride = stride}), text, 1 + rng() % 9);
    ASSERT_TRUE(found.ok());
    const Scanned scanned = scan(text, 1 + rng() % 9);
    ASSERT_EQ(found->samples, scanned.ranges.size());
    for (size_t i = 0; i < scanned.ranges.size(); i += stride) {
      EXPECT_EQ(found->borders[i / stride], scanned.ranges[i].begin);
    }
    EXPECT_EQ(found->borders.back(), text.size());
    for (size_t k = 0; k < found->crcs.size(); ++k) {
      const auto part = text.substr(found->borders[k], found->borders[k + 1] - found->borders[k]);
      ASSERT_EQ(found->crcs[k], crc32c(as_bytes(part)));
    }
  }
}

TEST(LineIndexer, ChecksTheStatedCount) {
  EXPECT_FALSE(run_indexer(*make_line_indexer({.samples = 3}, 4, {}), "a\nb\n", 4).ok());
  const auto rules = LineRules{.header_lines = 1, .samples = 2};
  const auto found = run_indexer(*make_line_indexer(rules, 8, {}), "h\na\nb\n\n\n", 3);
  ASSERT_TRUE(found.ok()) << found.status().message();
  EXPECT_EQ(found->borders, (std::vector<uint64_t>{2, 4, 8}));
  EXPECT_FALSE(make_line_indexer({}, 3, {})->next(as_bytes("abcd")).ok());
}

}  // namespace
}  // namespace headrace
