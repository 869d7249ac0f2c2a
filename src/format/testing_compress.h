// SPDX-License-Identifier: Apache-2.0
//
// Test support: compressed bytes as zlib, libzstd, libbz2 and libbrotlienc write them, and text
// that compresses like text.
#pragma once

#include <brotli/encode.h>
#include <bzlib.h>
#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include <random>
#include <string>
#include <string_view>
#include <unordered_map>

namespace headrace::testing {

// Words of a small vocabulary: several deflate blocks per 100 KB, matches all over the window.
inline std::string text_like(size_t bytes, uint64_t seed) {
  std::mt19937_64 rng(seed);
  std::string text;
  while (text.size() < bytes) {
    for (uint64_t word = rng() % 5000, i = 0; i < 3 + word % 7; ++i)
      text += static_cast<char>('a' + (word * (i + 3)) % 26);
    text += rng() % 9 == 0 ? '\n' : ' ';
  }
  text.resize(bytes);
  return text;
}

// memory_level 1 makes a block of every 128 symbols, so that small texts have restart points, too.
inline std::string gzip_of(const std::string& text, int level, int memory_level = 8) {
  z_stream z{};
  EXPECT_EQ(::deflateInit2(&z, level, Z_DEFLATED, 15 + 16, memory_level, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(::deflateBound(&z, text.size()) + 32, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  z.avail_in = static_cast<uInt>(text.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(::deflate(&z, Z_FINISH), Z_STREAM_END);
  out.resize(z.total_out);
  ::deflateEnd(&z);
  return out;
}

// One frame, streamed (no content size), with a checksum.
inline std::string zstd_of(const std::string& text) {
  ZSTD_CCtx* context = ::ZSTD_createCCtx();
  ::ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
  ::ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 0);
  std::string out(::ZSTD_compressBound(text.size()), '\0');
  ZSTD_inBuffer from{text.data(), text.size(), 0};
  ZSTD_outBuffer to{out.data(), out.size(), 0};
  // In two calls, so that the size is not known at the frame's begin and the window is the level's.
  EXPECT_FALSE(::ZSTD_isError(::ZSTD_compressStream2(context, &to, &from, ZSTD_e_continue)));
  EXPECT_EQ(::ZSTD_compressStream2(context, &to, &from, ZSTD_e_end), 0u);
  ::ZSTD_freeCCtx(context);
  out.resize(to.pos);
  return out;
}

// One stream; level = hundreds of kB a block.
inline std::string bzip2_of(const std::string& text, int level = 1) {
  auto size = static_cast<unsigned>(text.size() + text.size() / 50 + 1000);
  std::string out(size, '\0');
  EXPECT_EQ(::BZ2_bzBuffToBuffCompress(out.data(), &size, const_cast<char*>(text.data()),
                                       static_cast<unsigned>(text.size()), level, 0, 0),
            BZ_OK);
  out.resize(size);
  return out;
}

inline std::string brotli_of(const std::string& text, int quality = 5) {
  size_t size = ::BrotliEncoderMaxCompressedSize(text.size()) + 1000;
  std::string out(size, '\0');
  EXPECT_TRUE(::BrotliEncoderCompress(quality, BROTLI_DEFAULT_WINDOW, BROTLI_MODE_GENERIC, text.size(),
                                      reinterpret_cast<const uint8_t*>(text.data()), &size,
                                      reinterpret_cast<uint8_t*>(out.data())));
  out.resize(size);
  return out;
}

// Raw snappy as google/snappy's format_description.txt says: greedy copies of 4 to 64 bytes by a
// table of 4-byte words, all three kinds of them, literals of every length in between.
inline std::string snappy_of(const std::string& text) {
  std::string out;
  for (uint64_t n = text.size();; n >>= 7) {
    out += static_cast<char>((n & 0x7f) | (n > 0x7f ? 0x80 : 0));
    if (n <= 0x7f) break;
  }
  std::unordered_map<std::string_view, size_t> last;
  const std::string_view all = text;
  size_t literal = 0, at = 0, copies = 0;
  const auto put_literal = [&](size_t end) {
    const size_t n = end - literal;
    if (n == 0) return;
    if (n <= 60) {
      out += static_cast<char>((n - 1) << 2);
    } else {
      const size_t more = n - 1 < 256 ? 1 : n - 1 < 65'536 ? 2 : 3;
      out += static_cast<char>((59 + more) << 2);
      for (size_t i = 0; i < more; ++i) out += static_cast<char>((n - 1) >> (8 * i));
    }
    out.append(all.substr(literal, n));
  };
  while (at < text.size()) {
    const std::string_view word = all.substr(at, 4);
    const auto found = word.size() == 4 ? last.find(word) : last.end();
    if (found == last.end() || at - found->second > 65'535) {
      if (word.size() == 4) last[word] = at;
      ++at;
      continue;
    }
    const size_t offset = at - found->second;
    size_t n = 4;
    while (n < 64 && at + n < text.size() && all[at + n] == all[at + n - offset]) ++n;
    put_literal(at);
    if (n <= 11 && offset < 2048) {
      out += static_cast<char>(1 | (n - 4) << 2 | offset >> 8 << 5);
      out += static_cast<char>(offset);
    } else {
      const size_t bytes = ++copies % 5 == 0 ? 4 : 2;
      out += static_cast<char>((bytes == 4 ? 3 : 2) | (n - 1) << 2);
      for (size_t i = 0; i < bytes; ++i) out += static_cast<char>(i < 4 ? offset >> (8 * i) : 0);
    }
    found->second = at;
    at += n;
    literal = at;
  }
  put_literal(text.size());
  return out;
}

}  // namespace headrace::testing
