// SPDX-License-Identifier: Apache-2.0
//
// Which samples a block holds. Shards are cut every c samples; what remains at their ends is strung
// together and cut every c samples too. Blocks are numbered: whole ones in stored order, those of
// the rest, the short one last.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "plan/shard_counts.h"

namespace headrace {

class BlockLayout {
 public:
  BlockLayout() = default;
  // 1 <= block <= counts->total().
  BlockLayout(std::shared_ptr<const ShardCounts> counts, uint64_t block);

  uint64_t full_blocks() const { return full_; }  // F: blocks of `block` samples
  uint64_t blocks() const { return full_ + (short_size_ > 0 ? 1 : 0); }
  uint64_t size(uint64_t block) const { return block < full_ ? block_ : short_size_; }
  // The offset-th sample of a block in stored order.
  uint64_t sample(uint64_t block, uint64_t offset) const;
  // sample(block, 0) of a block whose samples are consecutive, else ~0.
  uint64_t run_of_samples(uint64_t block) const;

 private:
  struct Found {
    uint64_t shard;
    uint64_t offset;
  };
  static Found find(const std::vector<uint64_t>& first, uint64_t each, uint64_t at);

  std::shared_ptr<const ShardCounts> counts_;
  uint64_t block_ = 1;
  uint64_t full_ = 0;
  uint64_t short_size_ = 0;
  uint64_t whole_ = 0;       // blocks that lie in one shard
  uint64_t whole_each_ = 0;  // the same in every shard, where the counts are equal
  uint64_t rest_each_ = 0;
  std::vector<uint64_t> whole_first_;  // by shard, prefix sums; empty where the counts are equal
  std::vector<uint64_t> rest_first_;
};

}  // namespace headrace
