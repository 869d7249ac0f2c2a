// SPDX-License-Identifier: Apache-2.0
#include "s3/object_checksum.h"

#include <algorithm>

#include "base/crc32c.h"
#include "base/endian.h"
#include "base/folded_crc.h"
#include "s3/crypto.h"
#include "s3/header_text.h"

namespace headrace {
namespace {

template <class Word, Word (*kCrc)(Bytes, Word)>
class CrcDigest final : public ContentDigest {
 public:
  void update(Bytes bytes) override { crc_ = kCrc(bytes, crc_); }
  std::string finish() override {
    std::string text;
    for (size_t i = sizeof(Word); i-- > 0;) text += static_cast<char>((crc_ >> (8 * i)) & 0xFF);
    return text;
  }
  static std::unique_ptr<ContentDigest> make() { return std::make_unique<CrcDigest>(); }

 private:
  Word crc_ = 0;
};

template <DigestKind kKind>
std::unique_ptr<ContentDigest> make_digest_of() {
  return make_digest(kKind);
}

struct Row {
  std::string_view header;     // at S3
  std::string_view goog;       // in x-goog-hash
  std::string_view algorithm;
  size_t bytes;
  std::unique_ptr<ContentDigest> (*make)();
};

// Cheapest first: 8 GB/s a core for the CRCs, 0.5 to 2 GB/s for the others. XXHash sums (2026) are not read.
constexpr Row kRows[] = {
    {"x-amz-checksum-crc64nvme", "", "CRC64NVME", 8, CrcDigest<uint64_t, crc64nvme>::make},
    {"x-amz-checksum-crc32c", "crc32c", "CRC32C", 4, CrcDigest<uint32_t, crc32c>::make},
    {"x-amz-checksum-crc32", "", "CRC32", 4, CrcDigest<uint32_t, crc32_ieee>::make},
    {"x-amz-checksum-sha1", "", "SHA1", 20, make_digest_of<DigestKind::kSha1>},
    {"x-amz-checksum-sha256", "", "SHA256", 32, make_digest_of<DigestKind::kSha256>},
    {"x-amz-checksum-md5", "md5", "MD5", 16, make_digest_of<DigestKind::kMd5>},
    {"x-amz-checksum-sha512", "", "SHA512", 64, make_digest_of<DigestKind::kSha512>},
};
constexpr const Row& kMd5Row = kRows[5];

std::string_view value_of(const HttpHeaders& headers, std::string_view name) {
  const std::string* value = find_header(headers, name);
  return value != nullptr ? std::string_view(*value) : std::string_view();
}

std::shared_ptr<const StoredChecksum> made(const Row& row, std::string value, bool certain = true) {
  return std::make_shared<const StoredChecksum>(StoredChecksum{row.algorithm, std::move(value), certain, row.make});
}

// A composite value is "base64-parts" at some stores: no base64, so it is passed over here like any other nonsense.
std::shared_ptr<const StoredChecksum> from_base64(const Row& row, std::string_view text) {
  auto value = base64_decoded(text);
  return value && value->size() == row.bytes ? made(row, *std::move(value)) : nullptr;
}

// "crc32c=AAAAAA==,md5=..." ; the value has '=' of its own.
std::string_view goog_value(std::string_view list, std::string_view name) {
  while (!list.empty()) {
    std::string_view item = list.substr(0, list.find(','));
    list.remove_prefix(std::min(item.size() + 1, list.size()));
    item.remove_prefix(std::min(item.find_first_not_of(' '), item.size()));
    if (item.size() > name.size() && item.starts_with(name) && item[name.size()] == '=') {
      return item.substr(name.size() + 1);
    }
  }
  return {};
}

std::shared_ptr<const StoredChecksum> from_goog(const HttpHeaders& headers) {
  // Its sums are of the bytes as stored; a store that unpacks them on the way sends others.
  const std::string_view encoding = value_of(headers, "x-goog-stored-content-encoding");
  if (!encoding.empty() && encoding != "identity") return nullptr;
  for (const Row& row : kRows) {
    if (row.goog.empty()) continue;
    for (const auto& [name, value] : headers) {
      if (name != "x-goog-hash") continue;
      if (auto found = from_base64(row, goog_value(value, row.goog))) return found;
    }
  }
  return nullptr;
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

// Not of multipart uploads ("digits-parts"), and not of what is encrypted with a key of KMS or of the customer's.
std::shared_ptr<const StoredChecksum> from_etag(const HttpHeaders& headers, bool aws) {
  const std::string_view encryption = value_of(headers, "x-amz-server-side-encryption");
  if (encryption.starts_with("aws:")) return nullptr;
  if (!value_of(headers, "x-amz-server-side-encryption-customer-algorithm").empty()) return nullptr;
  const std::string_view raw = value_of(headers, "etag");
  if (raw.starts_with("W/")) return nullptr;
  const std::string etag = bare_etag(raw);
  if (etag.size() != 2 * kMd5Row.bytes) return nullptr;
  std::string value;
  for (size_t i = 0; i < etag.size(); i += 2) {
    const int high = hex_value(etag[i]), low = hex_value(etag[i + 1]);
    if (high < 0 || low < 0) return nullptr;
    value += static_cast<char>(high * 16 + low);
  }
  return made(kMd5Row, std::move(value), aws);
}

}  // namespace

std::shared_ptr<const StoredChecksum> checksum_of(const HttpHeaders& headers, bool aws) {
  if (value_of(headers, "x-amz-checksum-type") != "COMPOSITE") {
    for (const Row& row : kRows) {
      if (auto found = from_base64(row, value_of(headers, row.header))) return found;
    }
  }
  if (auto found = from_goog(headers)) return found;
  return from_etag(headers, aws);
}

}  // namespace headrace
