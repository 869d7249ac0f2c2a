// SPDX-License-Identifier: Apache-2.0
//
// The digests that an S3 server has to check: SHA-256 and HMAC-SHA-256 (Signature Version 4), MD5
// (Content-MD5), CRC-32 (x-amz-checksum-crc32). Low-level contexts are used on purpose: a signature
// check per request must cost microseconds, and OpenSSL 3's EVP look-up alone costs more than
// hashing a request.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace headrace::serve {

using Digest256 = std::array<uint8_t, 32>;
using Digest128 = std::array<uint8_t, 16>;

class Sha256 {
 public:
  Sha256();
  void update(std::string_view data);
  Digest256 finish();  // once

 private:
  friend class HmacKey;
  alignas(8) std::array<uint8_t, 128> state_;
};

class Md5 {
 public:
  Md5();
  void update(std::string_view data);
  Digest128 finish();  // once

 private:
  alignas(8) std::array<uint8_t, 96> state_;
};

// An HMAC-SHA-256 key with its two pad blocks already absorbed: signing costs two finalisations.
class HmacKey {
 public:
  explicit HmacKey(std::string_view key);
  Digest256 sign(std::string_view message) const;

 private:
  Sha256 inner_;
  Sha256 outer_;
};

Digest256 sha256(std::string_view data);
std::string hex(const uint8_t* bytes, size_t count);
inline std::string hex(const Digest256& d) { return hex(d.data(), d.size()); }
inline std::string hex(const Digest128& d) { return hex(d.data(), d.size()); }
std::string base64(const uint8_t* bytes, size_t count);

// True when equal; the time taken depends on the lengths only.
bool equal_constant_time(std::string_view a, std::string_view b);

}  // namespace headrace::serve
