// SPDX-License-Identifier: Apache-2.0
#include "serve/checksum.h"

#include "base/crc32c.h"
#include "base/folded_crc.h"

namespace headrace::serve {
namespace {

std::string header_or_empty(const HttpHeaders& headers, std::string_view name) {
  const std::string* value = find_header(headers, name);
  return value == nullptr ? std::string() : *value;
}

// S3 sends CRCs big-endian.
std::string base64_of(uint64_t crc, size_t size = 4) {
  uint8_t bytes[8];
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<uint8_t>(crc >> (8 * (size - 1 - i)));
  return base64(bytes, size);
}

constexpr size_t kReadBytes = 256 << 10;

Result<uint64_t> crc_of(const Object& object, ChecksumCache::Kind kind) {
  std::vector<std::byte> chunk(kReadBytes);
  uint64_t crc = 0;
  for (uint64_t at = 0; at < object.info().size; at += chunk.size()) {
    const uint64_t size = std::min<uint64_t>(chunk.size(), object.info().size - at);
    HR_TRY(object.read_at(at, MutableBytes(chunk).first(size)));
    const Bytes bytes = Bytes(chunk).first(size);
    if (kind == ChecksumCache::Kind::kCrc64Nvme) crc = crc64nvme(bytes, crc);
    if (kind == ChecksumCache::Kind::kCrc32c) crc = crc32c(bytes, static_cast<uint32_t>(crc));
    if (kind == ChecksumCache::Kind::kCrc32) crc = crc32_ieee(bytes, static_cast<uint32_t>(crc));
  }
  return crc;
}

}  // namespace

ChecksumChecker::ChecksumChecker(const HttpHeaders& headers)
    : want_crc32_(header_or_empty(headers, "x-amz-checksum-crc32")),
      want_crc32c_(header_or_empty(headers, "x-amz-checksum-crc32c")),
      want_crc64_(header_or_empty(headers, "x-amz-checksum-crc64nvme")),
      want_sha256_(header_or_empty(headers, "x-amz-checksum-sha256")) {}

void ChecksumChecker::update(Bytes bytes) {
  if (!want_crc32_.empty()) {
    crc32_ = crc32_ieee(bytes, crc32_);
  }
  if (!want_crc32c_.empty()) crc32c_ = crc32c(bytes, crc32c_);
  if (!want_crc64_.empty()) crc64_ = crc64nvme(bytes, crc64_);
  if (!want_sha256_.empty()) sha256_.update(as_text(bytes));
}

std::string ChecksumChecker::disagreement() {
  if (!want_crc32_.empty() && base64_of(crc32_) != want_crc32_) return "x-amz-checksum-crc32";
  if (!want_crc32c_.empty() && base64_of(crc32c_) != want_crc32c_) return "x-amz-checksum-crc32c";
  if (!want_crc64_.empty() && base64_of(crc64_, 8) != want_crc64_)
    return "x-amz-checksum-crc64nvme";
  if (want_sha256_.empty()) return {};
  const Digest256 digest = sha256_.finish();
  return base64(digest.data(), digest.size()) == want_sha256_ ? std::string()
                                                              : "x-amz-checksum-sha256";
}

Result<ChecksumCache::Kind> ChecksumCache::kind_of(const std::string& name) {
  if (name == "crc64nvme") return Kind::kCrc64Nvme;
  if (name == "crc32c") return Kind::kCrc32c;
  if (name == "crc32") return Kind::kCrc32;
  if (name == "none") return Kind::kNone;
  return invalid_argument("start server: checksum '" + name +
                          "' is none of crc64nvme, crc32c, crc32, none");
}

std::string ChecksumCache::head_lines(const Object& object) {
  if (kind == Kind::kNone) return {};
  const std::string name = object.info().key + ' ' + object.info().etag;
  {
    std::lock_guard lock(mutex_);
    if (const auto it = known_.find(name); it != known_.end()) return it->second;
  }
  const Result<uint64_t> crc = crc_of(object, kind);
  if (!crc.ok()) return {};
  const bool wide = kind == Kind::kCrc64Nvme;
  const std::string lines = std::string("x-amz-checksum-") +
                            (wide                    ? "crc64nvme"
                             : kind == Kind::kCrc32c ? "crc32c"
                                                     : "crc32") +
                            ": " + base64_of(*crc, wide ? 8 : 4) +
                            "\r\nx-amz-checksum-type: FULL_OBJECT\r\n";
  std::lock_guard lock(mutex_);
  if (known_.size() >= kEntriesMax) known_.clear();
  known_[name] = lines;
  return lines;
}

}  // namespace headrace::serve
