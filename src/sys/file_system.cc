// SPDX-License-Identifier: Apache-2.0
#include "sys/file_system.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

namespace headrace {
namespace {

Status io_error(std::string_view action, const std::string& path) {
  const int error = errno;
  std::string text = std::string(action) + " " + path + ": " + std::strerror(error);
  if (error == ENOENT || error == ENOTDIR) return not_found(std::move(text));
  if (error == EACCES || error == EPERM || error == EROFS) return permission_denied(std::move(text));
  if (error == ENOSPC || error == EDQUOT || error == EMFILE || error == ENFILE) {
    return exhausted(std::move(text));
  }
  return unavailable(std::move(text));
}

struct Fd {
  int fd;
  ~Fd() {
    if (fd >= 0) ::close(fd);
  }
};

Status write_all(int fd, std::string_view content, const std::string& path) {
  while (!content.empty()) {
    const ssize_t n = ::write(fd, content.data(), content.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return io_error("write", path);
    content.remove_prefix(static_cast<size_t>(n));
  }
  if (::fsync(fd) != 0) return io_error("fsync", path);
  return {};
}

}  // namespace

Result<std::string> RealFileSystem::read(const std::string& path, uint64_t bytes_max) {
  Fd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.fd < 0) return io_error("open", path);
  std::string content;
  char chunk[65536];
  for (;;) {
    const ssize_t n = ::read(file.fd, chunk, sizeof chunk);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return io_error("read", path);
    if (n == 0) return content;
    if (content.size() + static_cast<size_t>(n) > bytes_max) {
      return exhausted("read " + path + ": larger than the limit of " + std::to_string(bytes_max) + " bytes");
    }
    content.append(chunk, static_cast<size_t>(n));
  }
}

namespace {

Status replace_file(const std::string& path, std::string_view content, mode_t mode) {
  const std::filesystem::path target(path);
  std::error_code error;
  if (target.has_parent_path()) std::filesystem::create_directories(target.parent_path(), error);
  const std::string beside = path + ".tmp." + std::to_string(::getpid());
  {
    Fd file{::open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode)};
    if (file.fd < 0) return io_error("create", beside);
    if (Status s = write_all(file.fd, content, beside); !s.ok()) {
      ::unlink(beside.c_str());
      return s;
    }
  }
  if (::rename(beside.c_str(), path.c_str()) != 0) {
    Status s = io_error("rename to", path);
    ::unlink(beside.c_str());
    return s;
  }
  return {};
}

}  // namespace

Status RealFileSystem::write_atomic(const std::string& path, std::string_view content) {
  return replace_file(path, content, 0644);
}

Status RealFileSystem::write_private(const std::string& path, std::string_view content) {
  return replace_file(path, content, 0600);
}

Status RealFileSystem::remove(const std::string& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return io_error("remove", path);
  return {};
}

Result<std::string> MemoryFileSystem::read(const std::string& path, uint64_t bytes_max) {
  std::lock_guard lock(mutex_);
  auto it = files_.find(path);
  if (it == files_.end()) return not_found("open " + path + ": no such file");
  if (it->second.size() > bytes_max) {
    return exhausted("read " + path + ": larger than the limit of " + std::to_string(bytes_max) + " bytes");
  }
  return it->second;
}

Status MemoryFileSystem::write_atomic(const std::string& path, std::string_view content) {
  std::lock_guard lock(mutex_);
  files_[path] = std::string(content);
  return {};
}

Status MemoryFileSystem::write_private(const std::string& path, std::string_view content) {
  return write_atomic(path, content);
}

Status MemoryFileSystem::remove(const std::string& path) {
  std::lock_guard lock(mutex_);
  files_.erase(path);
  return {};
}

}  // namespace headrace
