// SPDX-License-Identifier: Apache-2.0
//
// The files below a folder as object keys in S3's order, and the ETag of a file. Follows links to files and folders
// (data sets are often links), never in a circle. Blocking: runs on file_store's threads.
#pragma once

#include <sys/stat.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "store/object_store.h"

namespace headrace {

// Names of files being written start with this; listings leave them out and keys may not name them.
constexpr std::string_view kFilePartPrefix = ".headrace-part-";

// Size, modification time and inode: changes when the file is replaced or written to.
std::string file_etag(const struct stat& info);

// Status of a failed system call on a file, from errno.
Status file_error(const std::string& what, int error);

// All objects whose key starts with `prefix`, sorted by key. With `shallow`, folders directly below the prefix stand
// there once, as "folder/" with size 0. kExhausted above `objects_max`.
Result<std::vector<ObjectMeta>> scan_files(const std::string& root, const std::string& prefix, bool shallow,
                                           uint64_t objects_max);

}  // namespace headrace
