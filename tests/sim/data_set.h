// SPDX-License-Identifier: Apache-2.0
//
// The data of a simulated world: shards whose every byte is known, their index, and a cutter for them. A stored sample
// is its length (4 bytes) and noise; so a byte that is wrong, moved or of another sample is seen.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "format/dataset_index.h"
#include "format/sample.h"
#include "plan/shard_counts.h"

namespace headrace::sim {

struct DataSpec {
  std::vector<uint64_t> counts;  // samples of each shard
  uint64_t bytes_min = 16, bytes_max = 16;  // of a sample, >= 8
  uint64_t head_bytes = 0, tail_bytes = 0;  // of a shard, around the samples
  uint64_t stride = 1;
  bool crc = true;
};

class DataSet {
 public:
  DataSet(const DataSpec& spec, uint64_t seed, std::string name);

  std::string key(uint64_t shard) const { return name_ + "/shard-" + std::to_string(shard); }
  const std::shared_ptr<const std::string>& content(uint64_t shard) const { return contents_[shard]; }
  Bytes sample(uint64_t number) const;
  uint64_t sample_bytes(uint64_t number) const { return places_[number].size(); }
  uint64_t largest_read() const;  // bytes that one sample needs, rounded out to its stride
  uint64_t bytes() const;

  std::shared_ptr<const DatasetIndex> index;
  std::shared_ptr<const ShardCounts> counts;
  std::shared_ptr<const Cutter> cutter;

 private:
  void fill_shard(const DataSpec& spec, uint64_t shard, uint64_t seed);
  void build_index(const DataSpec& spec);

  const std::string name_;
  std::vector<std::shared_ptr<const std::string>> contents_;
  std::vector<ByteRange> places_;   // of each sample, in its shard
  std::vector<uint64_t> shard_of_;  // of each sample
};

}  // namespace headrace::sim
