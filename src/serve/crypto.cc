// SPDX-License-Identifier: Apache-2.0
#define OPENSSL_SUPPRESS_DEPRECATED 1
#include "serve/crypto.h"

#include <openssl/crypto.h>
#include <openssl/md5.h>
#include <openssl/sha.h>

#include <cstring>

namespace headrace::serve {
namespace {

static_assert(sizeof(SHA256_CTX) <= sizeof(Sha256));
static_assert(sizeof(MD5_CTX) <= sizeof(Md5));
constexpr size_t kSha256BlockBytes = 64;

SHA256_CTX* sha_context(void* state) { return static_cast<SHA256_CTX*>(state); }
MD5_CTX* md5_context(void* state) { return static_cast<MD5_CTX*>(state); }

}  // namespace

Sha256::Sha256() { SHA256_Init(sha_context(state_.data())); }
void Sha256::update(std::string_view data) {
  SHA256_Update(sha_context(state_.data()), data.data(), data.size());
}
Digest256 Sha256::finish() {
  Digest256 digest;
  SHA256_Final(digest.data(), sha_context(state_.data()));
  return digest;
}

Md5::Md5() { MD5_Init(md5_context(state_.data())); }
void Md5::update(std::string_view data) {
  MD5_Update(md5_context(state_.data()), data.data(), data.size());
}
Digest128 Md5::finish() {
  Digest128 digest;
  MD5_Final(digest.data(), md5_context(state_.data()));
  return digest;
}

// RFC 2104: H(key ^ opad, H(key ^ ipad, message)).
HmacKey::HmacKey(std::string_view key) {
  std::array<uint8_t, kSha256BlockBytes> block{};
  if (key.size() > block.size()) {
    const Digest256 digest = sha256(key);
    std::memcpy(block.data(), digest.data(), digest.size());
  } else {
    std::memcpy(block.data(), key.data(), key.size());
  }
  std::array<uint8_t, kSha256BlockBytes> pad;
  for (size_t i = 0; i < pad.size(); ++i) pad[i] = block[i] ^ 0x36;
  inner_.update({reinterpret_cast<const char*>(pad.data()), pad.size()});
  for (size_t i = 0; i < pad.size(); ++i) pad[i] = block[i] ^ 0x5C;
  outer_.update({reinterpret_cast<const char*>(pad.data()), pad.size()});
}

Digest256 HmacKey::sign(std::string_view message) const {
  Sha256 inner = inner_;
  inner.update(message);
  const Digest256 digest = inner.finish();
  Sha256 outer = outer_;
  outer.update({reinterpret_cast<const char*>(digest.data()), digest.size()});
  return outer.finish();
}

Digest256 sha256(std::string_view data) {
  Sha256 hash;
  hash.update(data);
  return hash.finish();
}

std::string hex(const uint8_t* bytes, size_t count) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text(count * 2, '0');
  for (size_t i = 0; i < count; ++i) {
    text[2 * i] = kDigits[bytes[i] >> 4];
    text[2 * i + 1] = kDigits[bytes[i] & 15];
  }
  return text;
}

std::string base64(const uint8_t* bytes, size_t count) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t i = 0; i < count; i += 3) {
    const size_t left = count - i;
    const uint32_t word = uint32_t{bytes[i]} << 16 | (left > 1 ? uint32_t{bytes[i + 1]} << 8 : 0) |
                          (left > 2 ? uint32_t{bytes[i + 2]} : 0);
    text += kDigits[word >> 18];
    text += kDigits[(word >> 12) & 63];
    text += left > 1 ? kDigits[(word >> 6) & 63] : '=';
    text += left > 2 ? kDigits[word & 63] : '=';
  }
  return text;
}

bool equal_constant_time(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace headrace::serve
