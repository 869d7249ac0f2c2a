// SPDX-License-Identifier: Apache-2.0
//
// The index of shards that were found: one that fits, beside the shards or in the local folder; else one that is built,
// from what an earlier one and parts say of shards that are the same, and by reading the others. Blocking; one thread.
// How an index file is read and written is index_place.h, how shards are read index_build.h.
#pragma once

#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "loader/dataset.h"
#include "loader/find_shards.h"
#include "loader/index_build.h"
#include "loader/index_place.h"
#include "loader/stream_probe.h"

namespace headrace {

// What building an index takes, found out without reading data.
struct IndexCost {
  uint64_t shards = 0, bytes = 0;            // of the data set
  uint64_t shards_to_read = 0;
  uint64_t bytes_to_read = 0, requests = 0;  // GETs and HEADs; at most, where only headers are read
  uint64_t lists = 0;                        // LIST requests
  uint64_t shards_in_parts = 0, shards_in_earlier = 0;
  bool checksums = false;
};

class IndexService {
 public:
  // `url`: how the user named the data set. `place`: the folder of indexes; all must outlive the service.
  IndexService(ObjectStore& store, Runtime& runtime, FileSystem& files, const OpenOptions& options, std::string url,
               std::string index_dir, FoundShards found);

  const FoundShards& found() const { return found_; }
  const std::string& listing() const { return listing_; }
  // Looks at the first samples of some shards. What they say of the columns is the format's from then on.
  Result<StreamProbe> probe(std::stop_token stop);

  // An index of these very shards. With options.refresh one of a former state is none; else, beside the shards, it is
  // an error, and in the local folder it is built anew.
  Result<std::optional<LoadedIndex>> present(std::stop_token stop);
  // What a build needs; asks formats that learn.
  Result<IndexBuildSpec> build_spec(std::stop_token stop);
  IndexBuildSpec spec_now() const;
  Result<IndexCost> cost(const IndexBuildSpec& spec);
  Result<LoadedIndex> build(std::stop_token stop);
  // The index that build() gave lies safely elsewhere: its parts may go.
  void settle(const DatasetIndex& index);
  // Local indexes are found again by the shards' listing; the next state of the data set finds this one by its place.
  void note_local(const std::string& path);

 private:
  Result<std::optional<LoadedIndex>> beside(std::stop_token stop);
  std::optional<LoadedIndex> local();
  std::shared_ptr<const DatasetIndex> earlier(std::stop_token stop);
  bool fits(const DatasetIndex& index) const;
  std::string place_dir() const;

  ObjectStore& store_;
  Runtime& runtime_;
  FileSystem& files_;
  const OpenOptions& options_;
  const std::string url_, index_dir_;
  FoundShards found_;
  std::string listing_;
  std::optional<IndexBuildSpec> built_;
};

}  // namespace headrace
