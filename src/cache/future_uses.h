// SPDX-License-Identifier: Apache-2.0
//
// When blocks will be read, as far as is known: what makes eviction Belady's (the block that is needed latest goes
// first). KnownUses is what the cache asks; FutureUses is its answer for a data set: times are batches, from the
// start of the pass. Pure, immutable. (A mount's plan has its own, which moves on: mount/plan_future.h.)
#pragma once

#include <cstdint>
#include <limits>
#include <unordered_map>
#include <vector>

#include "base/hash.h"

namespace headrace {

struct HashOfHash128 {
  size_t operator()(const Hash128& hash) const {
    size_t value;
    static_assert(sizeof value <= sizeof hash.bytes);
    __builtin_memcpy(&value, hash.bytes.data(), sizeof value);
    return value;
  }
};

class KnownUses {
 public:
  static constexpr uint32_t kNever = std::numeric_limits<uint32_t>::max();  // not as far as is known

  virtual ~KnownUses() = default;
  // The first use after `time`. kNever also for what it does not know. Any thread; may not call the cache.
  virtual uint32_t next_after(const Hash128& object, uint32_t block, uint32_t time) const = 0;
};

class FutureUses final : public KnownUses {
 public:

  // Collects uses in any order; finish() sorts them.
  class Builder {
   public:
    void add(const Hash128& object, uint32_t block, uint32_t time) {
      auto& blocks = uses_[object];
      if (block >= blocks.size()) blocks.resize(block + 1);
      auto& times = blocks[block];
      if (times.empty() || times.back() != time) times.push_back(time);
      ++count_;
    }
    uint64_t count() const { return count_; }
    FutureUses finish() &&;

   private:
    friend class FutureUses;
    std::unordered_map<Hash128, std::vector<std::vector<uint32_t>>, HashOfHash128> uses_;
    uint64_t count_ = 0;
  };

  uint32_t next_after(const Hash128& object, uint32_t block, uint32_t time) const override;

 private:
  struct Object {
    std::vector<uint32_t> first;  // of a block's times; one more at the end
    std::vector<uint32_t> times;  // ascending within a block
  };
  std::unordered_map<Hash128, Object, HashOfHash128> objects_;
};

}  // namespace headrace
