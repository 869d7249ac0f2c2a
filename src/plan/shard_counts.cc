// SPDX-License-Identifier: Apache-2.0
#include "plan/shard_counts.h"

#include <algorithm>
#include <string>

#include "base/checked.h"

namespace headrace {

Result<ShardCounts> ShardCounts::make(std::vector<uint64_t> counts) {
  uint64_t total = 0;
  for (size_t shard = 0; shard < counts.size(); ++shard) {
    const auto sum = checked_add(total, counts[shard]);
    if (!sum || *sum > kSamplesMax) {
      return invalid_argument("count samples: shard " + std::to_string(shard) +
                              " brings the data set above " + std::to_string(kSamplesMax) +
                              " samples: count=" + std::to_string(counts[shard]));
    }
    total = *sum;
  }
  return ShardCounts(std::move(counts));
}

ShardCounts::ShardCounts(std::vector<uint64_t> counts) : shards_(counts.size()) {
  bool equal = true;
  for (uint64_t count : counts) {
    HR_ASSERT(count <= kSamplesMax - total_);
    total_ += count;
    equal = equal && count == counts.front();
  }
  // A table of 10^8 loose objects would be 800 MB to say "one each".
  if (equal) {
    each_ = counts.empty() ? 0 : counts.front();
    return;
  }
  first_ = std::move(counts);
  uint64_t sum = 0;
  for (uint64_t& entry : first_) {
    const uint64_t count = entry;
    entry = sum;
    sum += count;
  }
  first_.push_back(sum);
}

ShardCounts::At ShardCounts::locate(uint64_t sample) const {
  HR_ASSERT(sample < total_);
  if (uniform()) return {sample / each_, sample % each_};
  // The last shard that begins at or before the sample: empty shards before it begin there too.
  const auto after = std::upper_bound(first_.begin(), first_.end(), sample);
  const auto shard = static_cast<uint64_t>(after - first_.begin()) - 1;
  return {shard, sample - first_[shard]};
}

uint64_t ShardCounts::first(uint64_t shard) const {
  HR_ASSERT(shard <= shards_);
  return uniform() ? shard * each_ : first_[shard];
}

}  // namespace headrace
