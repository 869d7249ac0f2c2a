// SPDX-License-Identifier: Apache-2.0
#include "base/hash.h"

#include <xxhash.h>

#include <cstring>

#include "base/endian.h"

namespace headrace {

std::string Hash128::hex() const {
  constexpr char digits[] = "0123456789abcdef";
  std::string text;
  for (uint8_t b : bytes) {
    text += digits[b >> 4];
    text += digits[b & 15];
  }
  return text;
}

Hash128 hash128(Bytes data) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(data.data(), data.size()));
  Hash128 hash;
  std::memcpy(hash.bytes.data(), canonical.digest, 16);
  return hash;
}

FieldHasher& FieldHasher::add(std::string_view text) {
  add(static_cast<uint64_t>(text.size()));
  buffer_ += text;
  return *this;
}

FieldHasher& FieldHasher::add(uint64_t number) {
  char raw[8];
  store_le(raw, number);
  buffer_.append(raw, 8);
  return *this;
}

Hash128 FieldHasher::hash() const { return hash128(as_bytes(buffer_)); }

}  // namespace headrace
