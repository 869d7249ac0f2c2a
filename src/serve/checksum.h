// SPDX-License-Identifier: Apache-2.0
//
// The x-amz-checksum-* headers of an upload: CRC-32, CRC-32C and SHA-256 of the body, base64.
// Others (SHA-1, CRC-64/NVME) are not checked, as S3-compatible stores do.
#pragma once

#include <optional>
#include <string>

#include "base/bytes.h"
#include "net/http_transport.h"
#include "serve/crypto.h"

namespace headrace::serve {

class ChecksumChecker {
 public:
  // Looks which of the headers are there.
  explicit ChecksumChecker(const HttpHeaders& headers);
  void update(Bytes bytes);
  // The name of the first header that disagrees; empty = all agree. Once.
  std::string disagreement();

 private:
  std::string want_crc32_, want_crc32c_, want_sha256_;
  uint32_t crc32_ = 0, crc32c_ = 0;
  Sha256 sha256_;
};

}  // namespace headrace::serve
