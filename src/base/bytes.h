// SPDX-License-Identifier: Apache-2.0
//
// Byte spans and half-open byte ranges [begin, end) of an object.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace headrace {

using Bytes = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;

inline Bytes as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
inline std::string_view as_text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Half-open, begin <= end.
struct ByteRange {
  uint64_t begin = 0;
  uint64_t end = 0;

  uint64_t size() const { HR_ASSERT(begin <= end); return end - begin; }
  bool empty() const { return begin == end; }
  bool contains(ByteRange inner) const { return begin <= inner.begin && inner.end <= end; }
  std::string text() const { return "[" + std::to_string(begin) + ", " + std::to_string(end) + ")"; }

  friend bool operator==(const ByteRange&, const ByteRange&) = default;
};

}  // namespace headrace
