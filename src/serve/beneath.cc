// SPDX-License-Identifier: Apache-2.0
#include "serve/beneath.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace headrace::serve {

OwnedFd& OwnedFd::operator=(OwnedFd&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}
OwnedFd::~OwnedFd() {
  if (fd_ >= 0) ::close(fd_);
}

bool key_is_path(const std::string& key) {
  constexpr size_t kKeyBytesMax = 1024;     // S3's limit
  constexpr size_t kSegmentBytesMax = 255;  // NAME_MAX
  if (key.empty() || key.size() > kKeyBytesMax || key.find('\0') != key.npos) return false;
  if (key.starts_with(kUploadPrefix)) return false;
  for (size_t begin = 0; begin <= key.size();) {
    const size_t end = std::min(key.find('/', begin), key.size());
    const std::string_view segment(key.data() + begin, end - begin);
    if (segment.empty() || segment == "." || segment == ".." || segment.size() > kSegmentBytesMax)
      return false;
    begin = end + 1;
  }
  return true;
}

Status file_error(std::string_view action, const std::string& path) {
  const int error = errno;
  std::string text = std::string(action) + " " + path + ": " + std::strerror(error);
  switch (error) {
    case ENOENT:
    case ENOTDIR:
    case EISDIR:
      return not_found(std::move(text));
    case EXDEV:  // RESOLVE_BENEATH: the path leads out
    case ELOOP:
    case EACCES:
    case EPERM:
    case EROFS:
      return permission_denied(std::move(text));
    case EEXIST:
      return precondition_failed(std::move(text));
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
      return exhausted(std::move(text));
    case ENAMETOOLONG:
      return invalid_argument(std::move(text));
    default:
      return unavailable(std::move(text));
  }
}

Result<OwnedFd> open_beneath(int dir_fd, const std::string& path, int flags) {
  open_how how{};
  how.flags = static_cast<uint64_t>(flags) | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  // EAGAIN: a rename or mount raced with the walk through ".."; the kernel asks for another try.
  for (int attempt = 0; attempt < 8; ++attempt) {
    const long fd = ::syscall(SYS_openat2, dir_fd, path.c_str(), &how, sizeof how);
    if (fd >= 0) return OwnedFd(static_cast<int>(fd));
    if (errno != EAGAIN && errno != EINTR) break;
  }
  return file_error("open", path);
}

Result<ParentFolder> open_parent(int dir_fd, const std::string& path, bool make) {
  ParentFolder parent;
  HR_TRY_ASSIGN(parent.fd, open_beneath(dir_fd, ".", O_PATH | O_DIRECTORY));
  size_t begin = 0;
  for (size_t slash; (slash = path.find('/', begin)) != path.npos; begin = slash + 1) {
    const std::string folder = path.substr(0, slash);
    // From the root each time: BENEATH then allows a link to another folder inside the root.
    Result<OwnedFd> next = open_beneath(dir_fd, folder, O_PATH | O_DIRECTORY);
    if (!next.ok() && next.status().code() == Code::kNotFound && make) {
      const std::string segment = path.substr(begin, slash - begin);
      if (::mkdirat(parent.fd.get(), segment.c_str(), 0777) != 0 && errno != EEXIST)
        return file_error("make", folder);
      next = open_beneath(dir_fd, folder, O_PATH | O_DIRECTORY);
    }
    if (!next.ok()) return next.status();
    parent.fd = *std::move(next);
  }
  parent.name = path.substr(begin);
  return parent;
}

}  // namespace headrace::serve
