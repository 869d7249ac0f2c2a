// SPDX-License-Identifier: Apache-2.0
//
// XXH3-128 (xxHash, https://xxhash.com): names of index objects, order and identity hashes, the ranks' agreement. Not a
// cryptographic hash: it finds differences, it does not resist an attacker.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace headrace {

struct Hash128 {
  std::array<uint8_t, 16> bytes{};  // XXH128 canonical (big-endian) form

  std::string hex() const;  // 32 lower-case digits
  friend bool operator==(const Hash128&, const Hash128&) = default;
};

Hash128 hash128(Bytes data);

// Hashes a sequence of fields so that ("ab", "c") and ("a", "bc") differ: each field goes in with its length.
class FieldHasher {
 public:
  FieldHasher& add(std::string_view text);
  FieldHasher& add(uint64_t number);
  Hash128 hash() const;

 private:
  std::string buffer_;
};

}  // namespace headrace
