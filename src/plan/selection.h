// SPDX-License-Identifier: Apache-2.0
//
// Selection: the samples of a data set that take part (a filter, a split, a fold), one bit each,
// and folds by hash. The order runs over the selected samples, numbered 0..size()-1 in stored order
// (docs/ordering.md, "Subsets"). It does not evaluate filters and does not read columns.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/hash.h"
#include "base/result.h"
#include "plan/shard_counts.h"

namespace headrace {

// Immutable. Memory: 1.125 bits a sample.
class Selection {
 public:
  // Bit i mod 64 of word i / 64 says whether sample i takes part. Errors: another number of words
  // than `samples` need, a bit beyond the last sample.
  static Result<Selection> make(std::vector<uint64_t> words, uint64_t samples);

  uint64_t samples() const { return samples_; }  // of the data set
  uint64_t size() const { return size_; }        // that take part
  bool has(uint64_t sample) const;               // sample < samples()
  uint64_t sample(uint64_t i) const;             // the i-th selected one, i < size(). O(log)
  uint64_t rank(uint64_t sample) const;          // selected ones below; sample <= samples()
  // The selected samples of each shard, which is what an Order over the selection is made of.
  // Error: counts of another data set.
  Result<ShardCounts> counts(const ShardCounts& all) const;
  Hash128 hash() const;  // of samples() and the bits: "filter" of a state
  std::span<const uint64_t> words() const { return words_; }

 private:
  Selection() = default;
  uint64_t samples_ = 0;
  uint64_t size_ = 0;
  std::vector<uint64_t> words_;
  std::vector<uint64_t> below_;  // selected samples before each 512; one more entry: size_
};

// Where an id (a sample number, a group's number) falls when ids are cut into `of` parts by a hash
// of (seed, id): uniform in 0..of-1, the same whatever other ids there are. Frozen.
uint64_t fold_of(uint64_t id, uint64_t seed, uint64_t of);

// The words of the selection of all samples i (or groups[i]) whose fold_of lies in [from, to). The
// parts of two calls with the same seed and other `of` nest: [0, 1) of 10 is [0, 10) of 100.
std::vector<uint64_t> hash_fold(uint64_t samples, uint64_t seed, uint64_t from, uint64_t to,
                                uint64_t of);
std::vector<uint64_t> hash_fold_of_groups(std::span<const uint64_t> groups, uint64_t seed,
                                          uint64_t from, uint64_t to, uint64_t of);

}  // namespace headrace
