// SPDX-License-Identifier: Apache-2.0
//
// The making of an index in pieces: what it costs, parts of some shards (on this machine or on another one), parts that
// came from elsewhere. A build after that reads only the shards of which there is no part. For `headrace index`.
#pragma once

#include <memory>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "loader/index_service.h"

namespace headrace {

class IndexJob {
 public:
  // Finds the shards; kUnsupported for those that are read as a stream (compressed ones).
  static Result<std::unique_ptr<IndexJob>> open(const std::vector<std::string>& urls, OpenOptions options,
                                                std::stop_token stop);

  std::string url() const { return name_ + "/" + spec_.key_prefix; }
  Format format() const { return spec_.shard_format->format(); }
  const std::vector<ShardEntry>& shards() const { return spec_.shards; }
  // Where the index lies that fits; "" when there is none.
  const std::string& present() const { return present_; }
  Result<IndexCost> cost() { return service_->cost(spec_); }
  // Numbers of the shards that a build would read. With rebuild, what an earlier build left is gone after this.
  std::vector<uint64_t> to_read();

  // Reads these shards: (name, content) of each one's part. `name` says which state of the shard it is of; there is no
  // content of a shard without samples.
  using Part = std::pair<std::string, std::string>;
  Result<std::vector<Part>> parts_of(const std::vector<uint64_t>& shards, std::stop_token stop);
  std::string part_name(uint64_t shard) const;
  // Keeps a part of shard number `shard` for the build. Errors of decode_index_part.
  Status keep(uint64_t shard, const Part& part);

 private:
  IndexJob() = default;
  OpenOptions options_;
  RealFileSystem files_;
  std::shared_ptr<Runtime> runtime_;
  OpenedStore opened_;
  std::string name_, present_;
  std::unique_ptr<IndexService> service_;
  IndexBuildSpec spec_;
};

}  // namespace headrace
