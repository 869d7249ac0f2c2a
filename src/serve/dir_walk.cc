// SPDX-License-Identifier: Apache-2.0
#include "serve/dir_walk.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <list>

#include "serve/dir_bucket.h"

namespace headrace::serve {
namespace {

// Folders read lately on this thread, so that the pages of one long listing read a big folder once.
// An entry is used only while the folder's modification time stands, and only if that time was old
// enough when the folder was read that a later change could not carry the same time (file systems
// stamp with the kernel's tick, at most 10 ms).
struct KnownFolder {
  dev_t device;
  ino_t inode;
  timespec modified;
  FolderNames names;
};
constexpr size_t kKnownFoldersMax = 16;
constexpr int64_t kSettledNanos = 50'000'000;
thread_local std::list<KnownFolder> known_folders;

int64_t nanos_of(timespec t) { return t.tv_sec * int64_t{1'000'000'000} + t.tv_nsec; }

FolderNames find_known(const struct stat& st) {
  for (auto it = known_folders.begin(); it != known_folders.end(); ++it) {
    if (it->inode != st.st_ino || it->device != st.st_dev) continue;
    if (nanos_of(it->modified) != nanos_of(st.st_mtim)) {
      known_folders.erase(it);
      return nullptr;
    }
    known_folders.splice(known_folders.begin(), known_folders, it);
    return it->names;
  }
  return nullptr;
}

void keep_known(const struct stat& st, const FolderNames& names) {
  timespec now;
  ::clock_gettime(CLOCK_REALTIME, &now);
  if (nanos_of(now) - nanos_of(st.st_mtim) < kSettledNanos) return;
  known_folders.push_front({st.st_dev, st.st_ino, st.st_mtim, names});
  if (known_folders.size() > kKnownFoldersMax) known_folders.pop_back();
}

bool is_folder(int folder_fd, const dirent& entry) {
  if (entry.d_type != DT_UNKNOWN) return entry.d_type == DT_DIR;
  struct stat st;
  return ::fstatat(folder_fd, entry.d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

Result<FolderNames> read_names(OwnedFd fd, const std::string& what) {
  const int raw = ::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0);  // closedir closes what it was given
  DIR* dir = raw < 0 ? nullptr : ::fdopendir(raw);
  if (dir == nullptr) {
    Status status = file_error("read folder", what);
    if (raw >= 0) ::close(raw);
    return status;
  }
  auto names = std::make_shared<std::vector<std::string>>();
  while (const dirent* entry = ::readdir(dir)) {
    std::string name = entry->d_name;
    if (name == "." || name == ".." || name.starts_with(kUploadPrefix)) continue;
    if (is_folder(fd.get(), *entry)) name += '/';
    names->push_back(std::move(name));
  }
  ::closedir(dir);
  std::sort(names->begin(), names->end());
  return FolderNames(std::move(names));
}

}  // namespace

std::vector<std::string> folder_names(const OwnedFd& root) {
  std::vector<std::string> folders;
  Result<OwnedFd> fd = open_beneath(root.get(), ".", O_RDONLY | O_DIRECTORY);
  const Result<FolderNames> names =
      fd.ok() ? read_names(*std::move(fd), ".") : Result<FolderNames>(fd.status());
  if (!names.ok()) return folders;
  for (const std::string& name : **names) {
    if (name.ends_with('/')) folders.push_back(name.substr(0, name.size() - 1));
  }
  return folders;
}

std::string DirWalk::path_of(const std::string& key) const {
  std::string path = folder_.empty() ? key : key.empty() ? folder_ : folder_ + "/" + key;
  if (path.ends_with('/')) path.pop_back();
  return path.empty() ? "." : path;
}

// folder_key: "" or a key prefix that ends in '/'. A folder that vanished is an empty one.
Result<FolderNames> DirWalk::names_of(const std::string& folder_key) {
  if (auto it = read_.find(folder_key); it != read_.end()) return it->second;
  FolderNames names = std::make_shared<const std::vector<std::string>>();
  Result<OwnedFd> fd =
      open_beneath(root_->get(), path_of(folder_key), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (fd.ok()) {
    struct stat st;
    if (::fstat(fd->get(), &st) != 0) return file_error("stat", folder_key);
    if (FolderNames known = find_known(st)) {
      names = known;
    } else {
      HR_TRY_ASSIGN(names, read_names(*std::move(fd), folder_key));
      keep_known(st, names);
    }
  } else if (fd.status().code() != Code::kNotFound && fd.status().code() != Code::kPermission) {
    return fd.status();
  }
  read_.emplace(folder_key, names);
  return names;
}

std::optional<ObjectInfo> DirWalk::file_info(const std::string& key) {
  struct stat st;
  if (::fstatat(root_->get(), path_of(key).c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0)
    return std::nullopt;
  if (S_ISLNK(st.st_mode)) {
    const Result<OwnedFd> fd = open_beneath(root_->get(), path_of(key), O_PATH);
    if (!fd.ok() || ::fstat(fd->get(), &st) != 0) return std::nullopt;
  }
  if (!S_ISREG(st.st_mode)) return std::nullopt;
  return info_of(st, key);
}

Result<std::optional<ObjectInfo>> DirWalk::first_in(const std::string& folder_key,
                                                    const std::string& bound,
                                                    const std::string& prefix) {
  HR_TRY_ASSIGN(const FolderNames names, names_of(folder_key));
  // Below this folder, what is wanted is >= low; a folder is of interest also when low lies inside
  // it.
  const std::string& low = std::max(bound, prefix);
  size_t i = 0;
  if (low.size() > folder_key.size() && low.starts_with(folder_key)) {
    const std::string rest = low.substr(folder_key.size());
    i = static_cast<size_t>(std::lower_bound(names->begin(), names->end(), rest) - names->begin());
    if (i > 0 && (*names)[i - 1].ends_with('/') && rest.starts_with((*names)[i - 1])) --i;
  } else if (folder_key < low) {
    return std::optional<ObjectInfo>();  // all of it lies before
  }
  for (; i < names->size(); ++i) {
    const std::string key = folder_key + (*names)[i];
    const bool folder = key.ends_with('/');
    if (!key.starts_with(prefix) && !(folder && prefix.starts_with(key))) {
      if (key > prefix) break;
      continue;
    }
    if (folder) {
      HR_TRY_ASSIGN(std::optional<ObjectInfo> found, first_in(key, bound, prefix));
      if (found) return found;
    } else if (std::optional<ObjectInfo> info = file_info(key)) {
      return info;
    }
  }
  return std::optional<ObjectInfo>();
}

Result<std::optional<ObjectInfo>> DirWalk::next(const std::string& bound,
                                                const std::string& prefix) {
  return first_in("", bound, prefix);
}

}  // namespace headrace::serve
