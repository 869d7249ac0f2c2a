// SPDX-License-Identifier: Apache-2.0
#include "decode/text.h"

#include <algorithm>

#include "base/utf8.h"

namespace headrace {
namespace {

constexpr size_t kQuotedBytesMax = 32;

}  // namespace

Status check_utf8(Bytes text) {
  const size_t good = utf8_bytes(text);
  if (good == text.size()) return {};
  return corrupt("check text: not UTF-8 at byte " + std::to_string(good) + " of " + std::to_string(text.size()) + ": " +
                 quoted(text.subspan(good)) + "; decode the field as bytes to have it as it is");
}

std::string quoted(Bytes data) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  for (size_t i = 0; i < std::min(data.size(), kQuotedBytesMax); ++i) {
    const auto c = static_cast<uint8_t>(data[i]);
    if (c >= 0x20 && c < 0x7F && c != '"' && c != '\\') {
      out += static_cast<char>(c);
    } else {
      out += "\\x";
      out += kHex[c >> 4];
      out += kHex[c & 15];
    }
  }
  out += data.size() > kQuotedBytesMax ? "\"..." : "\"";
  return out;
}

}  // namespace headrace
