// SPDX-License-Identifier: Apache-2.0
//
// An object being written into a folder: a hidden file in the bucket's folder, linked or renamed to
// its key when whole. link() fails when the name exists, which is what makes If-None-Match: * exact
// among any number of writers.
#pragma once

#include <memory>
#include <string>

#include "serve/beneath.h"
#include "serve/bucket.h"

namespace headrace::serve {

class DirUpload final : public Upload {
 public:
  static Result<std::unique_ptr<Upload>> begin(std::shared_ptr<const OwnedFd> root,
                                               const std::string& folder, const std::string& key);
  ~DirUpload() override;
  Status write(Bytes bytes) override;
  Result<ObjectInfo> commit(bool if_none_match) override;

 private:
  DirUpload() = default;

  std::shared_ptr<const OwnedFd> root_;
  std::string key_;
  std::string path_;       // of the key, below root
  OwnedFd folder_fd_;      // the bucket's folder
  std::string temporary_;  // name in it; empty once gone
  OwnedFd file_;
};

}  // namespace headrace::serve
