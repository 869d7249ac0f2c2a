// SPDX-License-Identifier: Apache-2.0
//
// Test support: compressed bytes as zlib and libzstd write them, and text that compresses like
// text.
#pragma once

#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include <random>
#include <string>

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

}  // namespace headrace::testing
