// SPDX-License-Identifier: Apache-2.0
//
// What a bucket is to the server: objects by key, keys in S3's byte order, and (where it can)
// writing. Implementations: DirBucket (files in place) and SyntheticBucket (bytes computed). Used
// from one loop's thread only; every loop has its own instances.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace headrace::serve {

struct ObjectInfo {
  std::string key;
  uint64_t size = 0;
  std::string etag;  // without quotes
  int64_t modified_unix = 0;
};

// Where a window of an object's bytes lies in memory. `scratch` holds what has to be made up; it is
// never reallocated while in use, so iovecs may point into it.
struct Pieces {
  static constexpr size_t kPiecesMax = 64;
  static constexpr size_t kScratchBytes = 64 << 10;

  std::vector<char> scratch = std::vector<char>(kScratchBytes);
  size_t scratch_used = 0;
  iovec iov[kPiecesMax];
  size_t count = 0;
  uint64_t bytes = 0;

  void clear() { scratch_used = count = 0, bytes = 0; }
  bool full() const { return count == kPiecesMax; }
  void add(const char* data, size_t size) {
    bytes += size;
    if (count > 0 && static_cast<char*>(iov[count - 1].iov_base) + iov[count - 1].iov_len == data) {
      iov[count - 1].iov_len += size;
    } else {
      iov[count++] = {const_cast<char*>(data), size};
    }
  }
};

// An object as it was when opened; immutable.
class Object {
 public:
  virtual ~Object() = default;
  const ObjectInfo& info() const { return info_; }
  // The reply's ETag, Last-Modified and type lines, made once.
  const std::string& head_lines() const;

  // A descriptor that sendfile can read at the object's own offsets, or -1: then use pieces().
  virtual int file_fd() const { return -1; }
  // Some of the bytes from `offset` (< size) on, at least one, at most `bytes_max`; sets `out`.
  // Objects without file only.
  virtual void pieces(uint64_t offset, uint64_t bytes_max, Pieces& out) const {
    (void)offset, (void)bytes_max, out.clear();
  }
  // Fills `dst` from `offset` on; the caller keeps inside the object. kUnavailable when the file
  // shrank.
  virtual Status read_at(uint64_t offset, MutableBytes dst) const = 0;

 protected:
  ObjectInfo info_;

 private:
  mutable std::string head_lines_;
};

// Keys in byte order. Valid for one listing; may keep folders it has read.
class KeyWalk {
 public:
  virtual ~KeyWalk() = default;
  // The first object whose key is >= `bound` (byte order) and begins with `prefix`; nullopt = there
  // is none.
  virtual Result<std::optional<ObjectInfo>> next(const std::string& bound,
                                                 const std::string& prefix) = 0;
};

// A body on its way into a bucket. Destroying it without commit() leaves no trace.
class Upload {
 public:
  virtual ~Upload() = default;
  virtual Status write(Bytes bytes) = 0;
  // Makes the object visible at once, whole. kPrecondition when it must not exist and does.
  virtual Result<ObjectInfo> commit(bool if_none_match) = 0;
};

class Multipart;

class Bucket {
 public:
  virtual ~Bucket() = default;
  // False when the bucket has gone since it was found.
  virtual bool exists() = 0;
  virtual Result<std::shared_ptr<const Object>> open(const std::string& key) = 0;
  virtual std::unique_ptr<KeyWalk> walk() = 0;
  virtual Result<std::unique_ptr<Upload>> upload(const std::string& key) = 0;
  virtual Status remove(const std::string& key) = 0;  // ok when there was none
  virtual int64_t created_unix() const { return 0; }
  virtual Multipart* multipart() { return nullptr; }  // null: cannot be written in parts
};

}  // namespace headrace::serve
