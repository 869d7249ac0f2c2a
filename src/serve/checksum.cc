// SPDX-License-Identifier: Apache-2.0
#include "serve/checksum.h"

#include <zlib.h>

#include "base/crc32c.h"

namespace headrace::serve {
namespace {

std::string header_or_empty(const HttpHeaders& headers, std::string_view name) {
  const std::string* value = find_header(headers, name);
  return value == nullptr ? std::string() : *value;
}

// S3 sends CRCs big-endian.
std::string base64_of(uint32_t crc) {
  const uint8_t bytes[4] = {static_cast<uint8_t>(crc >> 24), static_cast<uint8_t>(crc >> 16),
                            static_cast<uint8_t>(crc >> 8), static_cast<uint8_t>(crc)};
  return base64(bytes, sizeof bytes);
}

}  // namespace

ChecksumChecker::ChecksumChecker(const HttpHeaders& headers)
    : want_crc32_(header_or_empty(headers, "x-amz-checksum-crc32")),
      want_crc32c_(header_or_empty(headers, "x-amz-checksum-crc32c")),
      want_sha256_(header_or_empty(headers, "x-amz-checksum-sha256")) {}

void ChecksumChecker::update(Bytes bytes) {
  if (!want_crc32_.empty()) {
    crc32_ = static_cast<uint32_t>(
        ::crc32_z(crc32_, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
  }
  if (!want_crc32c_.empty()) crc32c_ = crc32c(bytes, crc32c_);
  if (!want_sha256_.empty()) sha256_.update(as_text(bytes));
}

std::string ChecksumChecker::disagreement() {
  if (!want_crc32_.empty() && base64_of(crc32_) != want_crc32_) return "x-amz-checksum-crc32";
  if (!want_crc32c_.empty() && base64_of(crc32c_) != want_crc32c_) return "x-amz-checksum-crc32c";
  if (want_sha256_.empty()) return {};
  const Digest256 digest = sha256_.finish();
  return base64(digest.data(), digest.size()) == want_sha256_ ? std::string()
                                                              : "x-amz-checksum-sha256";
}

}  // namespace headrace::serve
