// SPDX-License-Identifier: Apache-2.0
//
// FutureUses: when the blocks of a data set will be read, as far as the order is known: what makes eviction Belady's
// (the block that is needed latest goes first). Times are batches, counted from the start of the pass. Pure, immutable.
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

class FutureUses {
 public:
  static constexpr uint32_t kNever = std::numeric_limits<uint32_t>::max();  // not as far as is known

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

  // The first use after `time`. kNever also for what it does not know.
  uint32_t next_after(const Hash128& object, uint32_t block, uint32_t time) const;

 private:
  struct Object {
    std::vector<uint32_t> first;  // of a block's times; one more at the end
    std::vector<uint32_t> times;  // ascending within a block
  };
  std::unordered_map<Hash128, Object, HashOfHash128> objects_;
};

}  // namespace headrace
