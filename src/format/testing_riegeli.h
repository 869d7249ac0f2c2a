// SPDX-License-Identifier: Apache-2.0
//
// Test support: chunks of Riegeli files as bytes, by their specification, with whatever is to be wrong in them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/endian.h"
#include "format/riegeli.h"

namespace headrace::testing {

inline std::string varint(uint64_t n) {
  std::string out;
  for (; n > 0x7f; n >>= 7) out += static_cast<char>(n | 0x80);
  return out + static_cast<char>(n);
}
inline std::string u64(uint64_t n) {
  std::string out(8, '\0');
  store_le<uint64_t>(out.data(), n);
  return out;
}

struct ChunkSpec {
  char type = 'r';
  uint64_t records = 0, decoded_bytes = 0;
  std::string data;
};

// A simple chunk, not compressed.
inline ChunkSpec simple_chunk(const std::vector<std::string>& records) {
  std::string sizes, values;
  for (const std::string& r : records) {
    sizes += varint(r.size());
    values += r;
  }
  return {'r', records.size(), values.size(), '\0' + varint(sizes.size()) + sizes + values};
}

// Its bytes in a file where it begins at byte `at`, with block headers and padding.
inline std::string chunk_bytes(uint64_t at, const ChunkSpec& chunk) {
  const std::string head = u64(chunk.data.size()) + u64(riegeli_hash(as_bytes(chunk.data))) +
                           u64(static_cast<uint8_t>(chunk.type) | chunk.records << 8) + u64(chunk.decoded_bytes);
  const std::string plain = u64(riegeli_hash(as_bytes(head))) + head + chunk.data;
  uint64_t end = std::max(*riegeli_end(at, plain.size()), at + chunk.records);
  while (!is_riegeli_border(end)) ++end;
  std::string out;
  for (size_t i = 0; at + out.size() < end;) {
    const uint64_t here = at + out.size();
    if (here % kRiegeliBlockBytes == 0) {
      const std::string places = u64(here - at) + u64(end - here);
      out += u64(riegeli_hash(as_bytes(places))) + places;
    } else {
      out += i < plain.size() ? plain[i] : '\0';
      ++i;
    }
  }
  return out;
}

// A padding chunk from byte `at` to byte `end` of the same block, as writers put one before a border.
inline std::string padding(uint64_t at, uint64_t end) {
  return chunk_bytes(at, {'p', 0, 0, std::string(end - at - kRiegeliChunkHeadBytes, '\0')});
}

}  // namespace headrace::testing
