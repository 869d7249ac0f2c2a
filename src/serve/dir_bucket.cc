// SPDX-License-Identifier: Apache-2.0
#include "serve/dir_bucket.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "base/hash.h"
#include "serve/dir_upload.h"
#include "serve/dir_walk.h"

namespace headrace::serve {

ObjectInfo info_of(const struct stat& st, std::string key) {
  ObjectInfo info;
  info.key = std::move(key);
  info.size = static_cast<uint64_t>(st.st_size);
  info.modified_unix = st.st_mtim.tv_sec;
  FieldHasher hasher;
  hasher.add(static_cast<uint64_t>(st.st_ino)).add(info.size);
  hasher.add(static_cast<uint64_t>(st.st_mtim.tv_sec))
      .add(static_cast<uint64_t>(st.st_mtim.tv_nsec));
  info.etag = hasher.hash().hex() + "-1";
  return info;
}

FileObject::FileObject(OwnedFd fd, const struct stat& st, std::string key)
    : fd_(std::move(fd)), device_(st.st_dev), inode_(st.st_ino), modified_(st.st_mtim) {
  info_ = info_of(st, std::move(key));
}

bool FileObject::is(const struct stat& st) const {
  return st.st_ino == inode_ && st.st_dev == device_ &&
         static_cast<uint64_t>(st.st_size) == info_.size && st.st_mtim.tv_sec == modified_.tv_sec &&
         st.st_mtim.tv_nsec == modified_.tv_nsec;
}

Status FileObject::read_at(uint64_t offset, MutableBytes dst) const {
  while (!dst.empty()) {
    const ssize_t n = ::pread(fd_.get(), dst.data(), dst.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return file_error("read", info_.key);
    if (n == 0)
      return unavailable("read " + info_.key + ": the file became shorter while it was served");
    offset += static_cast<uint64_t>(n);
    dst = dst.subspan(static_cast<size_t>(n));
  }
  return {};
}

DirBucket::DirBucket(std::shared_ptr<const OwnedFd> root, std::string folder)
    : root_(std::move(root)), folder_(std::move(folder)), multipart_(root_, folder_) {}

bool DirBucket::exists() {
  if (folder_.empty()) return true;
  struct stat st;
  return ::fstatat(root_->get(), folder_.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 &&
         S_ISDIR(st.st_mode);
}

int64_t DirBucket::created_unix() const {
  struct stat st;
  const char* path = folder_.empty() ? "." : folder_.c_str();
  return ::fstatat(root_->get(), path, &st, AT_SYMLINK_NOFOLLOW) == 0 ? st.st_mtim.tv_sec : 0;
}

// One stat a request keeps the cache honest: a file that was replaced, changed or removed by
// anybody is seen at once.
Result<std::shared_ptr<const Object>> DirBucket::open(const std::string& key) {
  if (!key_is_path(key)) return not_found("open " + key + ": no file can have this key");
  const std::string path = path_of(key);
  struct stat st;
  auto it = files_.find(key);
  if (it != files_.end()) {
    if (::fstatat(root_->get(), path.c_str(), &st, 0) == 0 && it->second.object->is(st)) {
      by_use_.splice(by_use_.begin(), by_use_, it->second.use);
      return std::shared_ptr<const Object>(it->second.object);
    }
    forget(it);
  }
  // O_NONBLOCK: a FIFO with a file's name must not stop the loop.
  HR_TRY_ASSIGN(OwnedFd fd, open_beneath(root_->get(), path, O_RDONLY | O_NONBLOCK));
  if (::fstat(fd.get(), &st) != 0) return file_error("stat", key);
  if (!S_ISREG(st.st_mode)) return not_found("open " + key + ": not a regular file");
  auto object = std::make_shared<const FileObject>(std::move(fd), st, key);
  remember(key, object);
  return std::shared_ptr<const Object>(std::move(object));
}

void DirBucket::forget(std::unordered_map<std::string, Cached>::iterator it) {
  by_use_.erase(it->second.use);
  files_.erase(it);
}

void DirBucket::remember(const std::string& key, std::shared_ptr<const FileObject> object) {
  if (files_.size() >= kOpenFilesMax) forget(files_.find(by_use_.back()));
  by_use_.push_front(key);
  files_.emplace(key, Cached{std::move(object), by_use_.begin()});
}

std::unique_ptr<KeyWalk> DirBucket::walk() { return std::make_unique<DirWalk>(root_, folder_); }

Result<std::unique_ptr<Upload>> DirBucket::upload(const std::string& key) {
  if (!key_is_path(key)) {
    return invalid_argument(
        "put " + key.substr(0, 64) +
        ": a key that no file path can spell (empty, '.' or '..' segment, "
        "trailing '/', or a segment above 255 bytes) cannot be stored in a folder");
  }
  return DirUpload::begin(root_, folder_, key);
}

Status DirBucket::remove(const std::string& key) {
  if (!key_is_path(key)) return {};
  if (auto it = files_.find(key); it != files_.end()) forget(it);
  Result<ParentFolder> parent = open_parent(root_->get(), path_of(key), false);
  if (!parent.ok()) return parent.status().code() == Code::kNotFound ? Status() : parent.status();
  struct stat st;
  if (::fstatat(parent->fd.get(), parent->name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0 ||
      S_ISDIR(st.st_mode))
    return {};
  if (::unlinkat(parent->fd.get(), parent->name.c_str(), 0) != 0 && errno != ENOENT)
    return file_error("remove", key);
  // Folders that S3 does not have go with their last object; rmdir refuses the first that is not
  // empty.
  for (size_t end = key.rfind('/'); end != key.npos && end > 0; end = key.rfind('/', end - 1)) {
    const std::string folder = path_of(key.substr(0, end));
    Result<ParentFolder> above = open_parent(root_->get(), folder, false);
    if (!above.ok() || ::unlinkat(above->fd.get(), above->name.c_str(), AT_REMOVEDIR) != 0) break;
  }
  return {};
}

}  // namespace headrace::serve
