// SPDX-License-Identifier: Apache-2.0
//
// Where sidecar indexes lie and how they are read and written: beside the shards
// (ROOT/.headrace/LISTING/HASH.hridx), in the local folder (DIR/LISTING/index.hridx), or at a URL
// the user names. No decision which one to use: dataset.cc.
#pragma once

#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "format/dataset_index.h"
#include "store/object_store.h"
#include "sys/file_system.h"

namespace headrace {

struct LoadedIndex {
  std::shared_ptr<const DatasetIndex> index;
  std::string name;   // 32 hex digits
  std::string where;  // in words, for print(ds)
};

// Reads head, tables and the level that fits in about 16 MB; one GET when the file is small.
Result<LoadedIndex> load_index_object(ObjectStore& store, const ObjectMeta& object, std::stop_token stop);
Result<LoadedIndex> load_index_file(FileSystem& files, const std::string& path);

std::string beside_folder(const std::string& root, const std::string& listing);
std::string local_index_path(const std::string& index_dir, const std::string& listing);
// index_dir where the user named none.
std::string default_index_dir();

// Immutable object: an equal one that is there already is success.
Result<std::string> save_index_beside(ObjectStore& store, const std::string& root, const std::string& listing,
                                      const std::string& encoded, std::stop_token stop);

}  // namespace headrace
