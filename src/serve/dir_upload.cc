// SPDX-License-Identifier: Apache-2.0
#include "serve/dir_upload.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "serve/dir_bucket.h"

namespace headrace::serve {
namespace {
std::atomic<uint64_t> next_upload{0};
}

Result<std::unique_ptr<Upload>> DirUpload::begin(std::shared_ptr<const OwnedFd> root,
                                                 const std::string& folder,
                                                 const std::string& key) {
  std::unique_ptr<DirUpload> upload(new DirUpload);
  upload->root_ = std::move(root);
  upload->key_ = key;
  upload->path_ = folder.empty() ? key : folder + "/" + key;
  HR_TRY_ASSIGN(
      upload->folder_fd_,
      open_beneath(upload->root_->get(), folder.empty() ? "." : folder, O_RDONLY | O_DIRECTORY));
  const std::string name =
      kUploadPrefix + std::to_string(::getpid()) + "-" + std::to_string(next_upload.fetch_add(1));
  upload->file_ = OwnedFd(::openat(upload->folder_fd_.get(), name.c_str(),
                                   O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (!upload->file_.ok()) return file_error("create", name);
  upload->temporary_ = name;
  return std::unique_ptr<Upload>(std::move(upload));
}

DirUpload::~DirUpload() {
  if (!temporary_.empty()) ::unlinkat(folder_fd_.get(), temporary_.c_str(), 0);
}

Status DirUpload::write(Bytes bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(file_.get(), bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return file_error("write", key_);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return {};
}

Result<ObjectInfo> DirUpload::commit(bool if_none_match) {
  HR_TRY_ASSIGN(const ParentFolder parent, open_parent(root_->get(), path_, true));
  if (if_none_match) {
    if (::linkat(folder_fd_.get(), temporary_.c_str(), parent.fd.get(), parent.name.c_str(), 0) !=
        0) {
      return file_error("create", key_);
    }
    ::unlinkat(folder_fd_.get(), temporary_.c_str(), 0);
  } else if (::renameat(folder_fd_.get(), temporary_.c_str(), parent.fd.get(),
                        parent.name.c_str()) != 0) {
    return file_error("rename to", key_);
  }
  temporary_.clear();
  struct stat st;
  if (::fstat(file_.get(), &st) != 0) return file_error("stat", key_);
  return info_of(st, key_);
}

}  // namespace headrace::serve
