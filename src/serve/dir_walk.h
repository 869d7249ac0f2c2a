// SPDX-License-Identifier: Apache-2.0
//
// The files below a folder in the byte order of their keys, by seeking: a folder's entries sort as
// S3 keys when every folder's name is compared with '/' at its end, so any bound is found with one
// binary search a level. Symbolic links to files inside the root are objects; links to folders are
// not walked (they could go round in circles).
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "serve/beneath.h"
#include "serve/bucket.h"

namespace headrace::serve {

// A folder's names, sorted; folders end in '/'.
using FolderNames = std::shared_ptr<const std::vector<std::string>>;

// The names of the folders right below `root`; what cannot be read is empty.
std::vector<std::string> folder_names(const OwnedFd& root);

class DirWalk final : public KeyWalk {
 public:
  DirWalk(std::shared_ptr<const OwnedFd> root, std::string folder)
      : root_(std::move(root)), folder_(std::move(folder)) {}
  Result<std::optional<ObjectInfo>> next(const std::string& bound,
                                         const std::string& prefix) override;

 private:
  std::string path_of(const std::string& key) const;
  Result<FolderNames> names_of(const std::string& folder_key);
  Result<std::optional<ObjectInfo>> first_in(const std::string& folder_key,
                                             const std::string& bound, const std::string& prefix);
  std::optional<ObjectInfo> file_info(const std::string& key);

  std::shared_ptr<const OwnedFd> root_;
  std::string folder_;
  std::unordered_map<std::string, FolderNames> read_;  // in this listing
};

}  // namespace headrace::serve
