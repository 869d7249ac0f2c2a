// SPDX-License-Identifier: Apache-2.0
//
// Opening paths below a directory so that neither "..", an absolute path nor a symbolic link can
// lead out of it (openat2 with RESOLVE_BENEATH, Linux 5.6). The only file of serve/ that turns a
// key into a path.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <string>
#include <utility>

#include "base/result.h"

namespace headrace::serve {

class OwnedFd {
 public:
  OwnedFd() = default;
  explicit OwnedFd(int fd) : fd_(fd) {}
  OwnedFd(OwnedFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  OwnedFd& operator=(OwnedFd&& other) noexcept;
  ~OwnedFd();
  int get() const { return fd_; }
  bool ok() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

// Whether a key can be a relative path in place: 1-1024 bytes, no NUL, no empty, "." or ".."
// segment (so no leading, doubled or trailing '/'), no segment above 255 bytes, not one of this
// server's temporary names.
bool key_is_path(const std::string& key);
// Names of uploads in progress; hidden from keys and lists.
inline constexpr char kUploadPrefix[] = ".headrace-upload-";

// kNotFound, kPermission (also for a link that leads out), kExhausted, kUnavailable.
Result<OwnedFd> open_beneath(int dir_fd, const std::string& path, int flags);
// The folder that holds `path` (opened O_PATH) and the last segment; makes missing folders where
// asked.
struct ParentFolder {
  OwnedFd fd;
  std::string name;
};
Result<ParentFolder> open_parent(int dir_fd, const std::string& path, bool make);

// Message from errno for `action path`.
Status file_error(std::string_view action, const std::string& path);

}  // namespace headrace::serve
