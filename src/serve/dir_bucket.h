// SPDX-License-Identifier: Apache-2.0
//
// A folder as a bucket, its files in place as objects: key = path below the folder. Keys that no
// path can spell (empty segments, "." and "..", a trailing '/') do not exist and cannot be written.
// ETags are opaque: a hash of inode, size and modification time, in the form of a multipart ETag
// ("...-1") so that no client takes it for the content's MD5.
#pragma once

#include <list>
#include <memory>
#include <string>
#include <unordered_map>

#include "serve/beneath.h"
#include "serve/bucket.h"
#include "serve/multipart.h"

namespace headrace::serve {

class FileObject final : public Object {
 public:
  FileObject(OwnedFd fd, const struct stat& st, std::string key);
  int file_fd() const override { return fd_.get(); }
  Status read_at(uint64_t offset, MutableBytes dst) const override;
  // Whether `st` still describes what was opened.
  bool is(const struct stat& st) const;

 private:
  OwnedFd fd_;
  dev_t device_;
  ino_t inode_;
  timespec modified_;
};

// What lists and heads say of a file, without opening it.
ObjectInfo info_of(const struct stat& st, std::string key);

class DirBucket final : public Bucket {
 public:
  // Objects lie below `folder` of the directory `root_fd` (shared, stays open); folder "" = the
  // directory itself.
  DirBucket(std::shared_ptr<const OwnedFd> root, std::string folder);

  bool exists() override;
  Result<std::shared_ptr<const Object>> open(const std::string& key) override;
  std::unique_ptr<KeyWalk> walk() override;
  Result<std::unique_ptr<Upload>> upload(const std::string& key) override;
  Status remove(const std::string& key) override;
  int64_t created_unix() const override;
  Multipart* multipart() override { return &multipart_; }

 private:
  // 512 open files a loop: a shuffled reader of more shards pays one open (~3 us) a request.
  static constexpr size_t kOpenFilesMax = 512;
  struct Cached {
    std::shared_ptr<const FileObject> object;
    std::list<std::string>::iterator use;
  };
  std::string path_of(const std::string& key) const {
    return folder_.empty() ? key : folder_ + "/" + key;
  }
  void forget(std::unordered_map<std::string, Cached>::iterator it);
  void remember(const std::string& key, std::shared_ptr<const FileObject> object);

  std::shared_ptr<const OwnedFd> root_;
  std::string folder_;
  Multipart multipart_;
  std::unordered_map<std::string, Cached> files_;
  std::list<std::string> by_use_;  // most recent first
};

}  // namespace headrace::serve
