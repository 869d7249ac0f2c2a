// SPDX-License-Identifier: Apache-2.0
//
// Decoders against what zlib and libzstd wrote, in any cut, from any restart point, and damaged in
// every way a byte or an end can be.
#include "format/decoder.h"

#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <random>

#include "format/testing_compress.h"
#include "format/testing_decode.h"

namespace headrace {
namespace {

using testing::gzip_of;
using testing::text_like;
using testing::zstd_of;

using testing::decode;
using testing::Decoded;

TEST(Decoder, NamesTellTheCompression) {
  EXPECT_EQ(compression_of_key("a/b.tar"), Compression::kNone);
  EXPECT_EQ(compression_of_key("a.tar.gz"), Compression::kGzip);
  EXPECT_EQ(compression_of_key("a.tgz"), Compression::kGzip);
  EXPECT_EQ(compression_of_key("a.tar.zst"), Compression::kZstd);
  EXPECT_EQ(compression_of_key("a.jsonl.bz2"), Compression::kBzip2);
  EXPECT_EQ(compression_of_key("shard.00000.mds.br"), Compression::kBrotli);
  EXPECT_EQ(compression_of_key("shard.00000.mds.snappy"), Compression::kSnappy);
  EXPECT_EQ(without_compression("a/b.jsonl.zst"), "a/b.jsonl");
  EXPECT_EQ(without_compression("a/b.tgz"), "a/b.tar");
  EXPECT_EQ(without_compression("a/b.mds"), "a/b.mds");
  EXPECT_EQ(compression_name(Compression::kZstd), "zstd");
}

TEST(Decoder, HowBytesAreCutChangesNothing) {
  const std::string text = text_like(100'000, 1);
  const std::string gz =
      gzip_of(text.substr(0, 60'000), 6) + gzip_of("", 6) + gzip_of(text.substr(60'000), 1);
  const std::string zst =
      zstd_of(text.substr(0, 60'000)) + zstd_of("") + zstd_of(text.substr(60'000));
  const auto cuts = {std::pair<size_t, size_t>{1, 1},
                     {1, 70'000},
                     {70'000, 1},
                     {7, 13},
                     {4096, 4096},
                     {1 << 20, 1 << 20}};
  for (auto [in, out] : cuts) {
    for (auto& [compression, stored] : {std::pair{Compression::kGzip, gz},
                                        {Compression::kZstd, zst},
                                        {Compression::kNone, text}}) {
      const Decoded got = decode(compression, stored, in, out);
      EXPECT_TRUE(got.status.ok()) << got.status.message();
      EXPECT_TRUE(got.plain == text)
          << compression_name(compression) << " in " << in << " out " << out;
    }
  }
}

// Every restart point leads to the same bytes and the same check at the member's end.
TEST(Decoder, BeginsAnewAtEveryRestartPoint) {
  DecoderOptions options;
  options.point_every = 4096;
  const std::string text = text_like(1'500'000, 2);
  size_t inside = 0, bits = 0;
  for (int level : {1, 6, 9}) {
    const std::string gz =
        gzip_of(text.substr(0, 900'000), level) + gzip_of(text.substr(900'000), level);
    const Decoded whole = decode(Compression::kGzip, gz, 1000, 4096, options);
    ASSERT_TRUE(whole.status.ok());
    ASSERT_GT(whole.points.size(), 3u);
    for (const RestartPoint& point : whole.points) {
      inside += point.inside;
      bits += point.bits != 0;
      ASSERT_TRUE(check_restart_point(point, Compression::kGzip, gz.size()).ok());
      const Decoded rest = decode(Compression::kGzip, gz, 777, 5000, options, point);
      EXPECT_TRUE(rest.status.ok()) << rest.status.message();
      EXPECT_TRUE(rest.plain == text.substr(point.plain)) << point.plain;
      // The rest of the member is still checked: a flipped byte of it is found.
      std::string damaged = gz;
      damaged[gz.size() - 8] ^= 1;
      EXPECT_EQ(decode(Compression::kGzip, damaged, 777, 5000, options, point).status.code(),
                Code::kCorrupt);
    }
  }
  EXPECT_GT(inside, 10u);
  EXPECT_GT(bits, 5u);
  std::string zst;
  for (size_t i = 0; i < text.size(); i += 50'000) zst += zstd_of(text.substr(i, 50'000));
  const Decoded whole = decode(Compression::kZstd, zst, 1000, 4096, options);
  ASSERT_GT(whole.points.size(), 20u);
  for (const RestartPoint& point : whole.points) {
    const Decoded rest = decode(Compression::kZstd, zst, 777, 5000, options, point);
    EXPECT_TRUE(rest.status.ok());
    EXPECT_TRUE(rest.plain == text.substr(point.plain));
  }
}

TEST(Decoder, EveryTruncationIsAnErrorAndGivesAPrefix) {
  const std::string text = text_like(3000, 3);
  for (auto& [compression, stored] :
       {std::pair{Compression::kGzip, gzip_of(text, 6)}, {Compression::kZstd, zstd_of(text)}}) {
    for (size_t n = 0; n < stored.size(); ++n) {
      const Decoded got = decode(compression, stored.substr(0, n), 64, 256);
      EXPECT_EQ(got.status.code(), Code::kCorrupt) << n;
      EXPECT_TRUE(text.starts_with(got.plain));
    }
  }
}

// CRC-32 finds every single flipped bit; what is not checked: the header's time, name and operating
// system (RFC 1952).
TEST(Decoder, EveryFlippedBitIsFoundOrChangesNothing) {
  const std::string text = text_like(1500, 4);
  for (auto& [compression, stored] :
       {std::pair{Compression::kGzip, gzip_of(text, 6)}, {Compression::kZstd, zstd_of(text)}}) {
    size_t unnoticed = 0;
    for (size_t bit = 0; bit < stored.size() * 8; ++bit) {
      std::string damaged = stored;
      damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
      const Decoded got = decode(compression, damaged, 100, 300);
      unnoticed += got.status.ok();
      EXPECT_TRUE(!got.status.ok() || got.plain == text) << "bit " << bit;
    }
    // gzip: the FTEXT flag, MTIME, XFL and OS: 1 + 48 bits, and what fills up deflate's last byte.
    if (compression == Compression::kGzip) {
      EXPECT_GE(unnoticed, 49u);
      EXPECT_LE(unnoticed, 49u + 7);
    }
  }
}

TEST(Decoder, MessagesSayWhere) {
  const std::string text = text_like(3000, 5);
  std::string gz = gzip_of(text, 6) + gzip_of(text, 6);
  gz[gz.size() - 6] ^= 1;  // the CRC of the second member
  const Status status = decode(Compression::kGzip, gz, 64, 256).status;
  const std::string member = "gzip member at byte " + std::to_string(gz.size() / 2);
  EXPECT_TRUE(status.message().starts_with(member)) << status.message();
  EXPECT_NE(status.message().find("plain byte 6000: its CRC-32 is stated as"), std::string::npos)
      << status.message();
}

TEST(Decoder, FramesThatAreNotOnesAreRefused) {
  const auto gzip_error = [](const std::string& stored) {
    return decode(Compression::kGzip, stored, 99, 99).status;
  };
  const std::string good = gzip_of("abc", 6);
  EXPECT_TRUE(gzip_error(good + std::string(500, '\0')).ok());  // as Python's gzip module reads it
  EXPECT_EQ(gzip_error(good + "x").code(), Code::kCorrupt);
  EXPECT_EQ(gzip_error("").code(), Code::kCorrupt);
  EXPECT_EQ(gzip_error(std::string(512, 'a')).code(), Code::kCorrupt);
  EXPECT_EQ(gzip_error(std::string("\x1f\x8b\x07\0", 4)).code(), Code::kUnsupported);
  EXPECT_EQ(gzip_error(std::string("\x1f\x8b\x08\x80", 4)).code(), Code::kUnsupported);
  // FNAME without an end.
  EXPECT_EQ(
      gzip_error(std::string("\x1f\x8b\x08\x08\0\0\0\0\0\0", 10) + std::string(70'000, 'n')).code(),
      Code::kExhausted);
  EXPECT_EQ(decode(Compression::kZstd, "", 9, 9).status.code(), Code::kCorrupt);
  EXPECT_EQ(decode(Compression::kZstd, zstd_of("abc") + "garbage", 9, 9).status.code(),
            Code::kCorrupt);
}

// All optional fields: EXTRA, NAME, COMMENT, HCRC (RFC 1952 2.3).
TEST(Decoder, OptionalHeaderFieldsArePassedOver) {
  const std::string good = gzip_of("abc", 6);
  std::string all = std::string("\x1f\x8b\x08\x1e\0\0\0\0\0\0", 10) + std::string("\x04\0abcd", 6) +
                    std::string("name\0", 5) + std::string("comment\0", 8) + "hc" + good.substr(10);
  for (size_t step : {1, 3, 100}) {
    const Decoded got = decode(Compression::kGzip, all, step, 99);
    EXPECT_TRUE(got.status.ok()) << got.status.message();
    EXPECT_EQ(got.plain, "abc");
  }
}

TEST(Decoder, BombsAndHugeWindowsAreRefused) {
  const std::string zeros(80 << 20, '\0'), gz_zeros = gzip_of(zeros, 1);
  DecoderOptions options;
  options.ratio_max = 100;
  const Status gz = decode(Compression::kGzip, gz_zeros, 1 << 20, 1 << 20, options).status;
  EXPECT_EQ(gz.code(), Code::kExhausted) << gz.message();
  EXPECT_NE(gz.message().find("more than 100 bytes out of each stored one"), std::string::npos);
  EXPECT_EQ(decode(Compression::kZstd, zstd_of(zeros), 1 << 20, 1 << 20, options).status.code(),
            Code::kExhausted);
  options.ratio_max = 1 << 30;
  EXPECT_TRUE(decode(Compression::kGzip, gz_zeros, 1 << 20, 1 << 20, options).status.ok());
  options.window_bytes_max = 64 << 10;
  const Status window =
      decode(Compression::kZstd, zstd_of(text_like(3 << 20, 6)), 1 << 20, 1 << 20, options).status;
  EXPECT_EQ(window.code(), Code::kExhausted) << window.message();
  EXPECT_NE(window.message().find("window is larger than 65536"), std::string::npos)
      << window.message();
}

TEST(Decoder, DamagedRestartPointsAreRefused) {
  const auto code = [](const RestartPoint& p, Compression c = Compression::kGzip) {
    return check_restart_point(p, c, 1000).code();
  };
  const RestartPoint good{500, 900, true, 3, 7, 1, 100, 200, std::string(700, 'x')};
  EXPECT_EQ(code(good), Code::kOk);
  RestartPoint p = good;
  p.stored = 1001;
  EXPECT_EQ(code(p), Code::kPrecondition);
  p = good;
  p.bits = 8;
  EXPECT_EQ(code(p), Code::kPrecondition);
  p = good;
  p.window.push_back('x');  // longer than what the member has given
  EXPECT_EQ(code(p), Code::kPrecondition);
  p = good;
  p.plain = 100'000;
  p.window.assign(kGzipWindow + 1, 'x');
  EXPECT_EQ(code(p), Code::kPrecondition);
  p = good;
  p.member_stored = 501;
  EXPECT_EQ(code(p), Code::kPrecondition);
  EXPECT_EQ(code(good, Compression::kZstd), Code::kPrecondition);
  EXPECT_EQ(code({5, 6}, Compression::kNone), Code::kPrecondition);
  EXPECT_FALSE(make_decoder(Compression::kZstd, {}, good).ok());
}

// Points that fit together but whose window or bits are wrong give errors or wrong bytes that the
// CRC finds.
TEST(Decoder, AWrongWindowIsFoundByTheChecksum) {
  DecoderOptions options;
  options.point_every = 4096;
  const std::string text = text_like(200'000, 7), gz = gzip_of(text, 6);
  const Decoded whole = decode(Compression::kGzip, gz, 1000, 4096, options);
  std::mt19937_64 rng(8);
  for (RestartPoint point : whole.points) {
    for (char& c : point.window) c = static_cast<char>(rng());
    EXPECT_FALSE(decode(Compression::kGzip, gz, 777, 5000, options, point).status.ok());
  }
}

}  // namespace
}  // namespace headrace
