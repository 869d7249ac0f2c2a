// SPDX-License-Identifier: Apache-2.0
#include "s3/crypto.h"

#include <openssl/evp.h>

#include "base/result.h"

namespace headrace {
namespace {

// OpenSSL 3 looks algorithms up by name at every EVP_sha256() use and allocates a context at every HMAC(); a signature
// is five digests. One fetched algorithm for the process and one context a thread make a digest cost about its blocks.
class Digest {
 public:
  explicit Digest(const char* name) : algorithm_(EVP_MD_fetch(nullptr, name, nullptr)), context_(EVP_MD_CTX_new()) {
    HR_ASSERT(algorithm_ != nullptr && context_ != nullptr);
  }
  Digest(const Digest&) = delete;
  Digest& operator=(const Digest&) = delete;
  ~Digest() {
    EVP_MD_CTX_free(context_);
    EVP_MD_free(algorithm_);
  }

  Digest& begin() {
    HR_ASSERT(EVP_DigestInit_ex2(context_, algorithm_, nullptr) == 1);
    return *this;
  }
  Digest& add(const void* data, size_t size) {
    HR_ASSERT(EVP_DigestUpdate(context_, data, size) == 1);
    return *this;
  }
  size_t size() const { return static_cast<size_t>(EVP_MD_get_size(algorithm_)); }
  void end(uint8_t* out) { HR_ASSERT(EVP_DigestFinal_ex(context_, out, nullptr) == 1); }

 private:
  EVP_MD* algorithm_;
  EVP_MD_CTX* context_;
};

Digest& sha256_digest() {
  thread_local Digest digest("SHA256");
  return digest;
}

class OpenSslDigest final : public ContentDigest {
 public:
  explicit OpenSslDigest(const char* name) : digest_(name) { digest_.begin(); }
  void update(Bytes bytes) override { digest_.add(bytes.data(), bytes.size()); }
  std::string finish() override {
    std::string value(digest_.size(), '\0');
    digest_.end(reinterpret_cast<uint8_t*>(value.data()));
    return value;
  }

 private:
  Digest digest_;
};

std::string hex_of(const uint8_t* bytes, size_t size) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text(size * 2, '\0');
  for (size_t i = 0; i < size; ++i) {
    text[2 * i] = kDigits[bytes[i] >> 4];
    text[2 * i + 1] = kDigits[bytes[i] & 15];
  }
  return text;
}

}  // namespace

Sha256 sha256(std::string_view data) {
  Sha256 out;
  sha256_digest().begin().add(data.data(), data.size()).end(out.data());
  return out;
}

std::string hex_digits(const Sha256& bytes) { return hex_of(bytes.data(), bytes.size()); }

std::string sha256_hex(std::string_view data) { return hex_digits(sha256(data)); }

std::unique_ptr<ContentDigest> make_digest(DigestKind kind) {
  static constexpr const char* kNames[] = {"MD5", "SHA1", "SHA256", "SHA512"};
  return std::make_unique<OpenSslDigest>(kNames[static_cast<size_t>(kind)]);
}

std::string md5_base64(std::string_view data) {
  uint8_t digest[16];
  Digest("MD5").begin().add(data.data(), data.size()).end(digest);
  unsigned char text[25];
  const int size = EVP_EncodeBlock(text, digest, sizeof digest);
  return std::string(reinterpret_cast<const char*>(text), static_cast<size_t>(size));
}

std::optional<std::string> base64_decoded(std::string_view text) {
  if (text.size() % 4 != 0 || text.size() > 1 << 20) return std::nullopt;
  std::string bytes(text.size() / 4 * 3, '\0');
  const int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                                   reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
  if (size < 0) return std::nullopt;
  bytes.resize(static_cast<size_t>(size) - (text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0));
  return bytes;
}

std::string sha1_hex(std::string_view data) {
  uint8_t digest[20];
  Digest("SHA1").begin().add(data.data(), data.size()).end(digest);
  return hex_of(digest, sizeof digest);
}

HmacSha256::HmacSha256(std::string_view key) {
  inner_pad_.fill(0x36);
  outer_pad_.fill(0x5c);
  Sha256 hashed;
  if (key.size() > inner_pad_.size()) {
    hashed = sha256(key);
    key = {reinterpret_cast<const char*>(hashed.data()), hashed.size()};
  }
  for (size_t i = 0; i < key.size(); ++i) {
    inner_pad_[i] ^= static_cast<uint8_t>(key[i]);
    outer_pad_[i] ^= static_cast<uint8_t>(key[i]);
  }
}

Sha256 HmacSha256::of(std::string_view message) const {
  Digest& digest = sha256_digest();
  Sha256 inner, outer;
  digest.begin().add(inner_pad_.data(), inner_pad_.size()).add(message.data(), message.size()).end(inner.data());
  digest.begin().add(outer_pad_.data(), outer_pad_.size()).add(inner.data(), inner.size()).end(outer.data());
  return outer;
}

}  // namespace headrace
