// SPDX-License-Identifier: Apache-2.0
#include "plan/selection.h"

#include <algorithm>
#include <bit>
#include <string>

#include "plan/integers.h"

namespace headrace {
namespace {

constexpr uint64_t kWordBits = 64;
constexpr uint64_t kChunkWords = 8;          // one count for each 512 samples: 0.125 bits a sample
constexpr uint64_t kNoEpoch = ~uint64_t{0};  // folds are cut under the key of no real epoch

std::string number(uint64_t value) { return std::to_string(value); }

uint64_t ones(uint64_t word) { return static_cast<uint64_t>(std::popcount(word)); }

// The bits of a word below `bit` < 64.
uint64_t below_bit(uint64_t word, uint64_t bit) { return word & ((uint64_t{1} << bit) - 1); }

}  // namespace

Result<Selection> Selection::make(std::vector<uint64_t> words, uint64_t samples) {
  if (samples > kSamplesMax) {
    return invalid_argument("select samples: samples=" + number(samples) + ", at most " +
                            number(kSamplesMax));
  }
  const uint64_t wanted = samples / kWordBits + (samples % kWordBits > 0 ? 1 : 0);
  if (words.size() != wanted) {
    return invalid_argument("select samples: " + number(words.size()) + " words of 64 bits, " +
                            number(samples) + " samples need " + number(wanted));
  }
  const uint64_t used = samples % kWordBits;
  if (used > 0 && below_bit(words.back(), used) != words.back()) {
    return invalid_argument("select samples: a bit beyond the last sample is set: samples=" +
                            number(samples));
  }
  Selection selection;
  selection.samples_ = samples;
  selection.below_.reserve(wanted / kChunkWords + 2);
  for (uint64_t i = 0; i < wanted; ++i) {
    if (i % kChunkWords == 0) selection.below_.push_back(selection.size_);
    selection.size_ += ones(words[i]);
  }
  selection.below_.push_back(selection.size_);
  selection.words_ = std::move(words);
  return selection;
}

bool Selection::has(uint64_t sample) const {
  HR_ASSERT(sample < samples_);
  return (words_[sample / kWordBits] >> (sample % kWordBits) & 1) != 0;
}

uint64_t Selection::rank(uint64_t sample) const {
  HR_ASSERT(sample <= samples_);
  if (sample == samples_) return size_;
  const uint64_t word = sample / kWordBits, chunk = word / kChunkWords;
  uint64_t count = below_[chunk];
  for (uint64_t i = chunk * kChunkWords; i < word; ++i) count += ones(words_[i]);
  return count + ones(below_bit(words_[word], sample % kWordBits));
}

uint64_t Selection::sample(uint64_t i) const {
  HR_ASSERT(i < size_);
  // The last chunk with at most i before it: empty ones before it begin there too.
  const auto after = std::upper_bound(below_.begin(), below_.end(), i);
  const auto chunk = static_cast<uint64_t>(after - below_.begin()) - 1;
  uint64_t left = i - below_[chunk], word = chunk * kChunkWords;
  while (left >= ones(words_[word])) left -= ones(words_[word++]);
  uint64_t bits = words_[word];
  for (; left > 0; --left) bits &= bits - 1;
  return word * kWordBits + static_cast<uint64_t>(std::countr_zero(bits));
}

Result<ShardCounts> Selection::counts(const ShardCounts& all) const {
  if (all.total() != samples_) {
    return invalid_argument("select samples: the selection is of " + number(samples_) +
                            " samples, the data set has " + number(all.total()));
  }
  std::vector<uint64_t> counts;
  counts.reserve(all.shards());
  for (uint64_t shard = 0; shard < all.shards(); ++shard) {
    counts.push_back(rank(all.first(shard + 1)) - rank(all.first(shard)));
  }
  return ShardCounts::make(std::move(counts));
}

Hash128 Selection::hash() const {
  const Hash128 bits = hash128(std::as_bytes(std::span(words_)));
  return FieldHasher().add("selection 1").add(samples_).add(bits.hex()).hash();
}

uint64_t fold_of(uint64_t id, uint64_t seed, uint64_t of) {
  const uint64_t key = order_key(seed, kNoEpoch, OrderTag::kSampler, 0);
  return scaled(mix64(key + (id + 1) * kGolden), of);
}

namespace {

template <class Id>
std::vector<uint64_t> fold_words(uint64_t samples, uint64_t seed, uint64_t from, uint64_t to,
                                 uint64_t of, Id id) {
  const uint64_t key = order_key(seed, kNoEpoch, OrderTag::kSampler, 0);
  std::vector<uint64_t> words(samples / kWordBits + (samples % kWordBits > 0 ? 1 : 0));
  for (uint64_t i = 0; i < samples; ++i) {
    const uint64_t fold = scaled(mix64(key + (id(i) + 1) * kGolden), of);
    if (fold >= from && fold < to) words[i / kWordBits] |= uint64_t{1} << (i % kWordBits);
  }
  return words;
}

}  // namespace

std::vector<uint64_t> hash_fold(uint64_t samples, uint64_t seed, uint64_t from, uint64_t to,
                                uint64_t of) {
  return fold_words(samples, seed, from, to, of, [](uint64_t i) { return i; });
}

std::vector<uint64_t> hash_fold_of_groups(std::span<const uint64_t> groups, uint64_t seed,
                                          uint64_t from, uint64_t to, uint64_t of) {
  return fold_words(groups.size(), seed, from, to, of, [&](uint64_t i) { return groups[i]; });
}

}  // namespace headrace
