// SPDX-License-Identifier: Apache-2.0
#include "store/file_listing.h"

#include <dirent.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

namespace headrace {
namespace {

constexpr size_t kFolderDepthMax = 128;

class Scan {
 public:
  Scan(const std::string& root, const std::string& prefix, bool shallow, uint64_t objects_max)
      : root_(root), prefix_(prefix), shallow_(shallow), objects_max_(objects_max) {}

  // `folder` is "" or ends with "/".
  Status folder(const std::string& folder) {
    const std::string path = root_ + "/" + folder;
    std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(path.c_str()), ::closedir);
    // Gone or not a folder: nothing lies below it, as in S3.
    if (!dir && (errno == ENOENT || errno == ENOTDIR)) return {};
    if (!dir) return file_error("list " + path, errno);
    struct stat info;
    if (::fstat(::dirfd(dir.get()), &info) != 0) return file_error("list " + path, errno);
    const std::pair<dev_t, ino_t> id{info.st_dev, info.st_ino};
    if (std::find(above_.begin(), above_.end(), id) != above_.end()) return {};  // a link in a circle
    if (above_.size() >= kFolderDepthMax) {
      return exhausted("list " + path + ": folders nested deeper than " + std::to_string(kFolderDepthMax));
    }
    above_.push_back(id);
    Status status = entries(dir.get(), folder);
    above_.pop_back();
    return status;
  }

  std::vector<ObjectMeta> take() {
    std::sort(found_.begin(), found_.end(),
              [](const ObjectMeta& a, const ObjectMeta& b) { return a.key < b.key; });
    return std::move(found_);
  }

 private:
  Status entries(DIR* dir, const std::string& folder) {
    for (;;) {
      errno = 0;
      const dirent* entry = ::readdir(dir);
      if (entry == nullptr && errno != 0) return file_error("list " + root_ + "/" + folder, errno);
      if (entry == nullptr) return {};
      const std::string_view name = entry->d_name;
      if (name == "." || name == ".." || name.starts_with(kFilePartPrefix)) continue;
      HR_TRY(one(::dirfd(dir), entry->d_name, folder + entry->d_name));
    }
  }

  Status one(int dir_fd, const char* name, const std::string& key) {
    if (!leads_to_prefix(key)) return {};
    struct stat info;
    // Vanished since, or a link to nowhere: not an object.
    if (::fstatat(dir_fd, name, &info, 0) != 0) return {};
    if (S_ISDIR(info.st_mode)) {
      const std::string below = key + "/";
      if (!shallow_ || below.size() <= prefix_.size()) return folder(below);
      return add(below, nullptr);
    }
    if (!S_ISREG(info.st_mode) || key.compare(0, prefix_.size(), prefix_) != 0) return {};
    return add(key, &info);
  }

  // Keys at or below `key` can start with the prefix.
  bool leads_to_prefix(const std::string& key) const {
    const size_t common = std::min(key.size(), prefix_.size());
    if (key.compare(0, common, prefix_, 0, common) != 0) return false;
    return key.size() >= prefix_.size() || prefix_[key.size()] == '/';
  }

  Status add(const std::string& key, const struct stat* info) {
    if (found_.size() >= objects_max_) {
      return exhausted("list " + root_ + "/" + prefix_ + ": more than objects_max=" +
                       std::to_string(objects_max_) + " files");
    }
    ObjectMeta meta;
    meta.key = key;
    if (info != nullptr) {
      meta.size = static_cast<uint64_t>(info->st_size);
      meta.etag = file_etag(*info);
      meta.modified_unix = info->st_mtim.tv_sec;
    }
    found_.push_back(std::move(meta));
    return {};
  }

  const std::string& root_;
  const std::string& prefix_;
  const bool shallow_;
  const uint64_t objects_max_;
  std::vector<std::pair<dev_t, ino_t>> above_;
  std::vector<ObjectMeta> found_;
};

// A folder that no key can name ("../", "a//b/") holds no objects, and must not be opened.
bool names_folder(std::string_view folder) {
  while (!folder.empty()) {
    const size_t end = folder.find('/');
    const std::string_view part = folder.substr(0, end);
    if (part.empty() || part == "." || part == ".." || part.find('\0') != std::string_view::npos) return false;
    folder.remove_prefix(end + 1);
  }
  return true;
}

}  // namespace

std::string file_etag(const struct stat& info) {
  char text[64];
  std::snprintf(text, sizeof text, "%llx-%llx%09lx-%llx", static_cast<unsigned long long>(info.st_size),
                static_cast<unsigned long long>(info.st_mtim.tv_sec),
                static_cast<unsigned long>(info.st_mtim.tv_nsec), static_cast<unsigned long long>(info.st_ino));
  return text;
}

Status file_error(const std::string& what, int error) {
  std::string text = what + ": " + std::strerror(error);
  switch (error) {
    case ENOENT:
    case ENOTDIR:
    case EISDIR: return not_found(std::move(text));
    case EACCES:
    case EPERM:
    case EROFS: return permission_denied(std::move(text));
    case EMFILE:
    case ENFILE: return exhausted(std::move(text) + "; raise the limit of open files (ulimit -n)");
    case ENOSPC:
    case EDQUOT: return exhausted(std::move(text));
    case ENAMETOOLONG:
    case ELOOP: return invalid_argument(std::move(text));
    default: return unavailable(std::move(text));
  }
}

Result<std::vector<ObjectMeta>> scan_files(const std::string& root, const std::string& prefix, bool shallow,
                                           uint64_t objects_max) {
  const size_t slash = prefix.rfind('/');
  const std::string folder = slash == std::string::npos ? "" : prefix.substr(0, slash + 1);
  if (!names_folder(folder)) return std::vector<ObjectMeta>();
  Scan scan(root, prefix, shallow, objects_max);
  HR_TRY(scan.folder(folder));
  return scan.take();
}

}  // namespace headrace
