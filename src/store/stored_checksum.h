// SPDX-License-Identifier: Apache-2.0
//
// What a store knows of an object's whole content, and the check of bytes against it. Of whole objects only: no store
// keeps sums of arbitrary ranges, those are the index's. How a sum is computed is known to whoever made it (`make`),
// so that nobody else has to know cryptography.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"

namespace headrace {

class ContentDigest {
 public:
  virtual ~ContentDigest() = default;
  virtual void update(Bytes bytes) = 0;
  virtual std::string finish() = 0;  // the digest's bytes, CRCs big-endian; once
};

struct StoredChecksum {
  std::string_view algorithm;  // "CRC64NVME"
  std::string value;           // the digest's bytes
  // False: it looks like one, but the store does not promise it (an ETag of 32 hexadecimal digits is an MD5 at most
  // stores). Bytes that differ from it are read again; when they stay the same, it was none.
  bool certain = true;
  std::unique_ptr<ContentDigest> (*make)() = nullptr;
};

// One object's bytes as they pass, from its first to its last.
class ContentCheck {
 public:
  // Null: nothing is known, and everything is right.
  explicit ContentCheck(std::shared_ptr<const StoredChecksum> stored);

  void update(Bytes bytes);
  // Once, after the last byte. kCorrupt with both values.
  Status finish();
  // Was there something to check?
  bool checks() const { return stored_ != nullptr; }
  // Of bytes that differ: true when the store vouches for its value.
  bool certain() const { return stored_ != nullptr && stored_->certain; }
  const std::string& found() const { return found_; }  // the digest's bytes, after finish()

 private:
  std::shared_ptr<const StoredChecksum> stored_;
  std::unique_ptr<ContentDigest> digest_;
  std::string found_;
};

}  // namespace headrace
