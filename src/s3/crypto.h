// SPDX-License-Identifier: Apache-2.0
//
// The few primitives that signing needs, over OpenSSL (the only place in s3/ that knows it).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "store/stored_checksum.h"

namespace headrace {

using Sha256 = std::array<uint8_t, 32>;

Sha256 sha256(std::string_view data);
std::string sha256_hex(std::string_view data);
std::string md5_base64(std::string_view data);  // as in Content-MD5; not for security
std::optional<std::string> base64_decoded(std::string_view text);  // nothing when it is none; padding is needed
std::string sha1_hex(std::string_view data);    // names of files in the SSO cache; not for security

// Digests over bytes that come in pieces, as stores keep them of objects; not for security.
enum class DigestKind { kMd5, kSha1, kSha256, kSha512 };
std::unique_ptr<ContentDigest> make_digest(DigestKind kind);

// Lower-case hexadecimal digits.
std::string hex_digits(const Sha256& bytes);

// HMAC-SHA256 under one key (RFC 2104). Copyable; holds key material.
class HmacSha256 {
 public:
  explicit HmacSha256(std::string_view key);
  Sha256 of(std::string_view message) const;

 private:
  std::array<uint8_t, 64> inner_pad_;
  std::array<uint8_t, 64> outer_pad_;
};

}  // namespace headrace
