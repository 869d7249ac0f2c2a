// SPDX-License-Identifier: Apache-2.0
//
// Multipart uploads of a bucket that is a folder. An upload in progress is a hidden folder
// (".headrace-upload-<id>") with the key and the parts as files, so that every loop, and the next
// start of the server, knows of it; completing writes the object anew from its parts. Nothing is
// cleaned up by age.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "serve/beneath.h"
#include "serve/bucket.h"
#include "serve/s3_error.h"

namespace headrace::serve {

class Multipart {
 public:
  static constexpr uint32_t kPartsMax = 10'000;
  static constexpr uint64_t kPartBytesMin = 5 << 20;  // of all but the last, as S3 demands

  struct Part {
    uint32_t number = 0;
    std::string etag;
    uint64_t size = 0;
    int64_t modified_unix = 0;
  };
  struct InProgress {
    std::string key, id;
    int64_t begun_unix = 0;
  };

  Multipart(std::shared_ptr<const OwnedFd> root, std::string folder)
      : root_(std::move(root)), folder_(std::move(folder)) {}

  Result<std::string> create(const std::string& key);  // the upload's id
  // Where bytes of a part go; visible when committed, in place of an earlier one of that number.
  S3Error part(const std::string& key, const std::string& id, uint32_t number,
               std::unique_ptr<Upload>& upload);
  S3Error parts(const std::string& key, const std::string& id, std::vector<Part>& found);
  // `wanted`: (number, ETag) in ascending order.
  S3Error complete(const std::string& key, const std::string& id,
                   const std::vector<std::pair<uint32_t, std::string>>& wanted, ObjectInfo& made);
  S3Error abort(const std::string& key, const std::string& id);
  Result<std::vector<InProgress>> in_progress();  // by key, then id

 private:
  std::string folder_of(const std::string& id) const;
  Result<InProgress> known(const std::string& id);
  S3Error check(const std::string& key, const std::string& id);
  S3Error join(const std::string& id, const std::vector<Part>& parts, Upload& upload);
  Status remove_folder(const std::string& id);

  std::shared_ptr<const OwnedFd> root_;
  std::string folder_;
};

}  // namespace headrace::serve
