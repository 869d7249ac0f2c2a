// SPDX-License-Identifier: Apache-2.0
#include "base/utf8.h"

#include "base/endian.h"

namespace headrace {
namespace {

// Length of the well-formed sequence at `at` (Unicode 15, table 3-7), 0 when there is none.
size_t sequence_length(const uint8_t* at, size_t left) {
  const auto trail = [&](size_t i, uint8_t low = 0x80, uint8_t high = 0xBF) {
    return i < left && at[i] >= low && at[i] <= high;
  };
  const uint8_t lead = at[0];
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return trail(1) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    const uint8_t low = lead == 0xE0 ? 0xA0 : 0x80, high = lead == 0xED ? 0x9F : 0xBF;
    return trail(1, low, high) && trail(2) ? 3 : 0;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    const uint8_t low = lead == 0xF0 ? 0x90 : 0x80, high = lead == 0xF4 ? 0x8F : 0xBF;
    return trail(1, low, high) && trail(2) && trail(3) ? 4 : 0;
  }
  return 0;
}

}  // namespace

size_t utf8_bytes(Bytes text) {
  const auto* data = reinterpret_cast<const uint8_t*>(text.data());
  size_t i = 0;
  while (i < text.size()) {
    // Eight ASCII bytes at once: most text is.
    if (text.size() - i >= 8 && (load_le<uint64_t>(data + i) & 0x8080808080808080ull) == 0) {
      i += 8;
      continue;
    }
    const size_t length = sequence_length(data + i, text.size() - i);
    if (length == 0) break;
    i += length;
  }
  return i;
}

}  // namespace headrace
