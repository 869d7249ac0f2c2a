// SPDX-License-Identifier: Apache-2.0
//
// Numbers of the index file's layout that its writer and its reader share (docs/formats/index.md).
// Private to them.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/endian.h"

namespace headrace::index_layout {

inline constexpr std::string_view kMagic{
    "\x89HRIDX\r\n", 8};  // a text-mode copy or a stripped high bit shows at once
inline constexpr uint32_t kVersion = 1;
inline constexpr uint32_t kFlagCrc = 1;
inline constexpr uint32_t kFlagUnits = 2;  // the tables end with a table of units; there are no strides
inline constexpr uint64_t kFixedHeadBytes = 96;
inline constexpr uint64_t kReservedBytes = 12;
inline constexpr uint64_t kLevelHeadBytes = 24;
inline constexpr uint64_t kLevelsMax =
    5;  // K, 16 K, 256 K, 4,096 K, 65,536 K: K x 16^4 is past kStrideMax for any K
inline constexpr uint64_t kLevelRatio = 16;
inline constexpr uint64_t kLevelBytesEnough =
    uint64_t{1} << 20;  // a level that small is one range: no coarser one is written
inline constexpr uint64_t kPageEntries = 4'096;  // 48 KiB: one small range
inline constexpr uint64_t kShardsMax = uint64_t{1} << 28;
inline constexpr uint64_t kTextBytesMax = uint64_t{1} << 16;  // of a key, an ETag, ...
inline constexpr uint64_t kSchemaBytesMax = uint64_t{1} << 24;

inline uint64_t entry_bytes(bool has_crc) { return has_crc ? 12 : 8; }

// Bytes of a level with that many strides: entries and one checksum a page.
inline uint64_t level_bytes(uint64_t strides, bool has_crc) {
  return strides * entry_bytes(has_crc) + (strides + kPageEntries - 1) / kPageEntries * 4;
}

// A page's checksum begins with its level and number, so that a page at the wrong place is seen.
inline uint32_t page_crc(uint64_t stride, uint64_t page, Bytes payload) {
  char seed[16];
  store_le(seed, stride);
  store_le(seed + 8, page);
  return crc32c(payload, crc32c(as_bytes({seed, sizeof seed})));
}

}  // namespace headrace::index_layout
