// SPDX-License-Identifier: Apache-2.0
//
// How many samples each shard (or unit) has, with the prefix sums that turn a sample number into
// (shard, row). It is the whole data set as the order sees it; names, sizes and bytes are the
// format's business.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"

namespace headrace {

// Samples of a data set, at most: positions times ranks and lanes stay below 2^64 in every formula
// of the order.
inline constexpr uint64_t kSamplesMax = uint64_t{1} << 48;

// Immutable. Shards of no sample are allowed.
class ShardCounts {
 public:
  // The sum of `counts` must not exceed kSamplesMax (HR_ASSERT); `make` says it as a Status.
  explicit ShardCounts(std::vector<uint64_t> counts);
  static Result<ShardCounts> make(std::vector<uint64_t> counts);

  uint64_t shards() const { return shards_; }
  uint64_t total() const { return total_; }

  struct At {
    uint64_t shard;
    uint64_t row;
    friend bool operator==(const At&, const At&) = default;
  };
  At locate(uint64_t sample)
      const;  // sample < total(); O(1) when all counts are equal, else O(log shards)
  uint64_t first(
      uint64_t shard) const;  // number of the shard's first sample; first(shards()) == total()
  uint64_t count(uint64_t shard) const { return first(shard + 1) - first(shard); }
  bool uniform() const { return first_.empty(); }  // every shard has the same count

 private:
  uint64_t shards_ = 0;
  uint64_t total_ = 0;
  uint64_t each_ = 0;  // the count of every shard, when they are equal: then there is no table
  std::vector<uint64_t> first_;  // shards_ + 1 prefix sums, else empty
};

}  // namespace headrace
