// SPDX-License-Identifier: Apache-2.0
#include "plan/block_layout.h"

#include <algorithm>

namespace headrace {

BlockLayout::BlockLayout(std::shared_ptr<const ShardCounts> counts, uint64_t block)
    : counts_(std::move(counts)), block_(block) {
  HR_ASSERT(block_ >= 1 && block_ <= counts_->total());
  full_ = counts_->total() / block_;
  short_size_ = counts_->total() % block_;
  const uint64_t shards = counts_->shards();
  if (block_ == 1) {
    whole_ = full_;  // block b is sample b: no table
    return;
  }
  if (counts_->uniform()) {
    whole_each_ = counts_->count(0) / block_;
    rest_each_ = counts_->count(0) % block_;
    whole_ = whole_each_ * shards;
    return;
  }
  whole_first_.reserve(shards + 1);
  rest_first_.reserve(shards + 1);
  uint64_t rest = 0;
  for (uint64_t shard = 0; shard <= shards; ++shard) {
    whole_first_.push_back(whole_);
    rest_first_.push_back(rest);
    if (shard == shards) break;
    whole_ += counts_->count(shard) / block_;
    rest += counts_->count(shard) % block_;
  }
}

BlockLayout::Found BlockLayout::find(const std::vector<uint64_t>& first, uint64_t each,
                                     uint64_t at) {
  if (first.empty()) return {at / each, at % each};
  const auto after = std::upper_bound(first.begin(), first.end(), at);
  const auto shard = static_cast<uint64_t>(after - first.begin()) - 1;
  return {shard, at - first[shard]};
}

uint64_t BlockLayout::run_of_samples(uint64_t block) const {
  if (block_ == 1) return block;
  if (block >= whole_) return ~uint64_t{0};
  const Found found = find(whole_first_, whole_each_, block);
  return counts_->first(found.shard) + found.offset * block_;
}

uint64_t BlockLayout::sample(uint64_t block, uint64_t offset) const {
  if (block < whole_) return run_of_samples(block) + offset;
  const Found found = find(rest_first_, rest_each_, (block - whole_) * block_ + offset);
  const uint64_t rest = counts_->count(found.shard) % block_;
  return counts_->first(found.shard + 1) - rest + found.offset;
}

}  // namespace headrace
