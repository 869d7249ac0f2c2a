// SPDX-License-Identifier: Apache-2.0
//
// The x-amz-checksum-* headers: of an upload, those that disagree with the body (CRC-32, CRC-32C,
// CRC-64/NVME, SHA-256; SHA-1 is not checked); of an object, the one that ChecksumMode asks for.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "net/http_transport.h"
#include "serve/bucket.h"
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
  std::string want_crc32_, want_crc32c_, want_crc64_, want_sha256_;
  uint32_t crc32_ = 0, crc32c_ = 0;
  uint64_t crc64_ = 0;
  Sha256 sha256_;
};

// Checksums of whole objects, computed when first asked for: a pass over the object on the loop's
// thread (about 0.1 s/GB), remembered by ETag. Shared by a server's loops.
class ChecksumCache {
 public:
  enum class Kind { kNone, kCrc64Nvme, kCrc32c, kCrc32 };
  static Result<Kind> kind_of(const std::string& name);

  // "x-amz-checksum-crc64nvme: ...\r\nx-amz-checksum-type: FULL_OBJECT\r\n"; empty for kNone and
  // for what cannot be read.
  std::string head_lines(const Object& object);

  Kind kind = Kind::kCrc64Nvme;

 private:
  static constexpr size_t kEntriesMax = 65'536;
  std::mutex mutex_;
  std::map<std::string, std::string> known_;  // by key and ETag
};

}  // namespace headrace::serve
