// SPDX-License-Identifier: Apache-2.0
//
// bzip2, brotli and snappy: what they decode equals what the libraries' encoders were given (snappy:
// the format's own description), however it is cut; cuts, flips, bombs and wrong restart points.
#include <gtest/gtest.h>

#include "format/testing_compress.h"
#include "format/testing_decode.h"

namespace headrace {
namespace {

using testing::brotli_of;
using testing::bzip2_of;
using testing::decode;
using testing::Decoded;
using testing::snappy_of;
using testing::text_like;

std::vector<std::pair<Compression, std::string>> all_of(const std::string& text) {
  return {{Compression::kBzip2, bzip2_of(text)},
          {Compression::kBrotli, brotli_of(text)},
          {Compression::kSnappy, snappy_of(text)}};
}

TEST(WholeDecoders, HowBytesAreCutChangesNothing) {
  const std::string text = text_like(200'000, 1) + std::string(5'000, 'z') + text_like(100'000, 9);
  for (auto& [compression, stored] : all_of(text)) {
    const std::vector<std::pair<size_t, size_t>> cuts = {{1, 70'000}, {70'000, 1}, {7, 13}, {4096, 4096}, {1 << 20, 1 << 20}};
    for (auto [in, out] : cuts) {
      const Decoded got = decode(compression, stored, in, out);
      EXPECT_TRUE(got.status.ok()) << got.status.message();
      EXPECT_TRUE(got.plain == text) << compression_name(compression) << " in " << in << " out " << out;
      EXPECT_TRUE(got.points.empty());
    }
  }
}

TEST(WholeDecoders, EmptyTextsAreRead) {
  for (auto& [compression, stored] : all_of("")) {
    const Decoded got = decode(compression, stored, 1, 1);
    EXPECT_TRUE(got.status.ok()) << got.status.message();
    EXPECT_EQ(got.plain, "");
  }
}

TEST(WholeDecoders, EveryTruncationIsAnErrorAndGivesAPrefix) {
  const std::string text = text_like(3000, 3);
  for (auto& [compression, stored] : all_of(text)) {
    for (size_t n = 0; n < stored.size(); ++n) {
      const Decoded got = decode(compression, stored.substr(0, n), 64, 256);
      EXPECT_EQ(got.status.code(), Code::kCorrupt) << compression_name(compression) << " " << n;
      EXPECT_TRUE(text.starts_with(got.plain));
    }
    EXPECT_EQ(decode(compression, stored + "x", 64, 256).status.code(), Code::kCorrupt);
  }
}

// bzip2 has a CRC of each block; the others have none, so that a flip may go unseen: never does it
// make more bytes than stated, or a crash.
TEST(WholeDecoders, EveryFlippedBitOfBzip2IsFound) {
  const std::string text = text_like(1500, 4);
  for (auto& [compression, stored] : all_of(text)) {
    size_t wrong = 0, errors = 0;
    for (size_t bit = 0; bit < stored.size() * 8; ++bit) {
      std::string damaged = stored;
      damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
      const Decoded got = decode(compression, damaged, 100, 300);
      errors += !got.status.ok();
      wrong += got.status.ok() && got.plain != text;
    }
    EXPECT_TRUE(wrong == 0 || compression != Compression::kBzip2) << wrong;
    EXPECT_GT(errors, stored.size() / 4);
  }
}

TEST(WholeDecoders, StreamsOfBzip2AreReadOnAndAreRestartPoints) {
  DecoderOptions options;
  options.point_every = 30'000;
  std::string text, stored;
  for (int i = 0; i < 20; ++i) {
    const std::string part = text_like(20'000, 100 + i);
    text += part;
    stored += bzip2_of(part);
  }
  const Decoded whole = decode(Compression::kBzip2, stored, 1000, 4096, options);
  EXPECT_TRUE(whole.plain == text);
  ASSERT_GE(whole.points.size(), 9u);
  for (const RestartPoint& point : whole.points) {
    const Decoded rest = decode(Compression::kBzip2, stored, 777, 5000, options, point);
    EXPECT_TRUE(rest.status.ok()) << rest.status.message();
    EXPECT_TRUE(rest.plain == text.substr(point.plain));
  }
  for (Compression c : {Compression::kBrotli, Compression::kSnappy}) {
    EXPECT_EQ(check_restart_point(whole.points[0], c, stored.size()).code(), Code::kPrecondition);
    EXPECT_TRUE(check_restart_point({}, c, stored.size()).ok());
  }
}

TEST(WholeDecoders, BombsAreRefused) {
  const std::string zeros(80 << 20, '\0');
  DecoderOptions options;
  options.ratio_max = 15;  // a copy of snappy makes 64 bytes of 3
  for (auto& [compression, stored] : all_of(zeros)) {
    const Status status = decode(compression, stored, 1 << 20, 1 << 20, options).status;
    EXPECT_EQ(status.code(), Code::kExhausted) << compression_name(compression) << " " << status.message();
    EXPECT_NE(status.message().find("more than 15 bytes out of each stored one"), std::string::npos);
  }
}

TEST(WholeDecoders, MemoryIsKnown) {
  const std::string text = text_like(2 << 20, 5);
  const auto held = [&](Compression c, const std::string& stored) {
    auto decoder = make_decoder(c, {});
    std::string room(4 << 20, '\0');
    EXPECT_TRUE((*decoder)->step(as_bytes(stored), {reinterpret_cast<std::byte*>(room.data()), room.size()}).ok());
    return (*decoder)->memory_bytes();
  };
  EXPECT_GE(held(Compression::kBrotli, brotli_of(text)), 1u << 20);  // its window holds the text or 4 MiB
  EXPECT_LE(held(Compression::kBrotli, brotli_of(text)), 17u << 20);
  EXPECT_LE(held(Compression::kSnappy, snappy_of(text)), 100u << 10);
  EXPECT_EQ(held(Compression::kBzip2, bzip2_of(text)) / 1000, 3700u);
}

// The description's own words: "a literal of 1 byte, a copy of 11 from 1 back" and so on, by hand.
TEST(Snappy, ElementsAsTheDescriptionHasThem) {
  const auto plain = [](std::string_view stored) {
    const Decoded got = decode(Compression::kSnappy, std::string(stored), 1, 3);
    return got.status.ok() ? got.plain : "error: " + got.status.message();
  };
  using namespace std::literals;
  EXPECT_EQ(plain("\x00"sv), "");
  EXPECT_EQ(plain("\x03\x08"
                  "abc"sv),
            "abc");
  EXPECT_EQ(plain("\x05\x00"
                  "a\x01\x01"sv),
            "aaaaa");  // 01: kind 1, length 4; offset 1
  EXPECT_EQ(plain("\x0a\x08xyz\x1a\x03\x00"sv), "xyzxyzxyzx");  // 1a: kind 2, length 7; offset 3
  EXPECT_EQ(plain("\x04\x04xy\x07\x02\x00\x00\x00"sv), "xyxy");  // 07: kind 3, length 2; offset 2
  std::string long_literal = "\x64\xf0\x63" + std::string(100, 'q');  // f0: one byte of length
  EXPECT_EQ(plain(long_literal), std::string(100, 'q'));
}

TEST(Snappy, WhatIsNoneIsRefused) {
  const auto fault = [](std::string_view stored) {
    return decode(Compression::kSnappy, std::string(stored), 7, 9).status;
  };
  using namespace std::literals;
  EXPECT_EQ(fault(""sv).code(), Code::kCorrupt);
  EXPECT_NE(fault("\xff\xff\xff\xff\x1f"sv).message().find("32 bits"), std::string::npos);
  EXPECT_NE(fault("\x05\x01\x01"sv).message().find("a copy from 1 bytes back"), std::string::npos);
  EXPECT_NE(fault("\x05\x00"
                  "a\x01\x00"sv)
                .message()
                .find("a copy from 0"),
            std::string::npos);
  EXPECT_NE(fault("\x02\x08"
                  "abc"sv)
                .message()
                .find("are left of the stated 2"),
            std::string::npos);
  EXPECT_NE(fault("\x02\x04"
                  "ab\x00"sv)
                .message()
                .find("are left of the stated 2"),
            std::string::npos);
  std::string far = "\xff\xff\x7f\xf4\xff\xff" + std::string(65'536, 'a') + "\xf4\xff\xff" + std::string(65'536, 'b') +
                    std::string("\x0f\x01\x00\x01\x00", 5);
  EXPECT_EQ(fault(far).code(), Code::kUnsupported) << fault(far).message();
}

}  // namespace
}  // namespace headrace
