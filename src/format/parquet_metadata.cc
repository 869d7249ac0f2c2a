// SPDX-License-Identifier: Apache-2.0
#include "format/parquet_metadata.h"

#include "base/endian.h"
#include "format/arrow_ipc.h"

namespace headrace {
namespace {

constexpr size_t kEncodedBytesMax = 16 << 20;

// RFC 4648; empty where a character is none of its alphabet.
std::string from_base64(std::string_view text) {
  std::string out;
  uint32_t bits = 0, n = 0;
  while (text.ends_with('=')) text.remove_suffix(1);
  for (char c : text) {
    uint32_t value = 0;
    if (c >= 'A' && c <= 'Z') value = static_cast<uint32_t>(c - 'A');
    else if (c >= 'a' && c <= 'z') value = static_cast<uint32_t>(c - 'a') + 26;
    else if (c >= '0' && c <= '9') value = static_cast<uint32_t>(c - '0') + 52;
    else if (c == '+' || c == '/') value = c == '+' ? 62 : 63;
    else return {};
    bits = bits << 6 | value;
    n += 6;
    if (n < 8) continue;
    n -= 8;
    out += static_cast<char>(bits >> n & 0xff);
  }
  return out;
}

}  // namespace

std::vector<std::pair<std::string, uint64_t>> fixed_lists_of(std::string_view encoded) {
  std::vector<std::pair<std::string, uint64_t>> lists;
  if (encoded.size() > kEncodedBytesMax) return lists;
  const std::string message = from_base64(encoded);
  if (message.size() < 8 || load_le<uint32_t>(message.data()) != UINT32_MAX) return lists;
  const auto fields = parse_arrow_schema(as_bytes(message).subspan(8));
  if (!fields.ok()) return lists;
  for (const UnitField& field : *fields) {
    if (field.value == UnitValue::kArray && field.path.size() == 1) lists.emplace_back(field.name, field.length);
  }
  return lists;
}

}  // namespace headrace
