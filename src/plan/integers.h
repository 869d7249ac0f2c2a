// SPDX-License-Identifier: Apache-2.0
//
// The integers of the sample order, docs/ordering.md "Integers": frozen. Users' checkpoints depend
// on every bit of them, so a change is a new order version, not an edit. All arithmetic is modulo
// 2^64. Nothing here is a source of secrets.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace headrace {

// What a key is drawn for. Frozen numbers.
enum class OrderTag : uint64_t {
  kBlocks = 1,
  kInside = 2,
  kMixture = 3,
  kSample = 4,
  kStream = 5,
  kSampler = 6,
  kTail = 7,
  kMixtureSeed = 8,
};

inline constexpr uint64_t kGolden = 0x9E3779B97F4A7C15;
// Up to this length a permutation is a table.
inline constexpr uint64_t kPermutationTableMax = 65'536;

// SplitMix64's finaliser.
constexpr uint64_t mix64(uint64_t x) {
  x ^= x >> 30;
  x *= 0xBF58476D1CE4E5B9;
  x ^= x >> 27;
  x *= 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

constexpr uint64_t order_key(uint64_t seed, uint64_t epoch, OrderTag tag, uint64_t extra) {
  uint64_t k = mix64(seed + kGolden);
  k = mix64(k + kGolden + epoch);
  k = mix64(k + kGolden + static_cast<uint64_t>(tag));
  return mix64(k + kGolden + extra);
}

// High 64 bits of x * m: x read as a fraction of 2^64, times m.
constexpr uint64_t scaled(uint64_t x, uint64_t m) {
  return static_cast<uint64_t>((static_cast<unsigned __int128>(x) * m) >> 64);
}

// The draws of one key: the t-th (t = 1, 2, ...) is mix64(key + t * kGolden).
class OrderStream {
 public:
  explicit OrderStream(uint64_t key) : state_(key) {}

  uint64_t draw() { return mix64(state_ += kGolden); }

  // Uniform in 0..m-1, m > 0; may take more than one draw (Lemire 2019, "Fast random integer
  // generation in an interval").
  uint64_t bounded(uint64_t m) {
    for (;;) {
      const auto product = static_cast<unsigned __int128>(draw()) * m;
      const auto low = static_cast<uint64_t>(product);
      if (low >= m || low >= (0 - m) % m) return static_cast<uint64_t>(product >> 64);
    }
  }

 private:
  uint64_t state_;
};

inline constexpr uint64_t kShuffledMax = uint64_t{1} << 32;
// Fills `out` with the Fisher-Yates shuffle of 0..out.size()-1, out.size() <= kShuffledMax.
void shuffled(std::span<uint32_t> out, uint64_t key);
void shuffled(std::span<uint64_t> out, uint64_t key);
// shuffled(n, key)[i] without the table: O(n - i) time, no memory. i < n <= kShuffledMax.
uint64_t shuffled_at(uint64_t n, uint64_t key, uint64_t i);

// A uniform permutation of 0..n-1 with random access: a table up to kPermutationTableMax, else a
// cycle-walking Feistel network. n <= 2^63.
class Permutation {
 public:
  Permutation() = default;  // of nothing
  Permutation(uint64_t n, uint64_t key);

  uint64_t size() const { return n_; }
  uint64_t operator()(uint64_t i) const;  // i < size()

 private:
  uint64_t n_ = 0;
  std::vector<uint32_t> table_;
  uint32_t half_bits_ = 0;
  uint64_t round_keys_[8] = {};
};

// A stratified permutation of 0..n-1, O(log n): every aligned run of 2^a indices visits 2^a
// different strata. i < n.
uint64_t spread(uint64_t i, uint64_t n, uint64_t key);

}  // namespace headrace
