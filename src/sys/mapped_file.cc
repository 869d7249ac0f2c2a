// SPDX-License-Identifier: Apache-2.0
#include "sys/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace headrace {
namespace {

Status failure(const char* action, const std::string& path) {
  const int error = errno;
  const std::string text = std::string(action) + " " + path + ": " + std::strerror(error);
  if (error == ENOENT) return not_found(text);
  return error == EACCES ? permission_denied(text) : invalid_argument(text);
}

}  // namespace

Result<std::shared_ptr<const MappedFile>> MappedFile::open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return failure("open", path);
  struct stat facts {};
  const bool known = ::fstat(fd, &facts) == 0;
  const auto size = known ? static_cast<uint64_t>(facts.st_size) : 0;
  void* address = size > 0 ? ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
  const Status failed = address == MAP_FAILED && size > 0 ? failure("map", path) : Status();
  ::close(fd);
  if (!known || size == 0) return invalid_argument("map " + path + ": the file is empty");
  if (!failed.ok()) return failed;
  return std::shared_ptr<const MappedFile>(new MappedFile(address, size));
}

MappedFile::~MappedFile() { ::munmap(address_, size_); }

}  // namespace headrace
