// SPDX-License-Identifier: Apache-2.0
//
// PlanFuture: when the files that plans name will be read, for the disk cache, which keeps those that come soonest
// (cache/future_uses.h). A use is added when its path comes and removed when its turn has come, so all it holds lies
// ahead, whatever time is asked for. Times are turns: plans take turns, so one that began at turn t reads its n-th file
// at about t + n.
//
// A file is read whole: all blocks of an object are needed at once. Any thread.
#pragma once

#include <mutex>
#include <unordered_map>
#include <vector>

#include "cache/future_uses.h"

namespace headrace::mount {

class PlanFuture final : public KnownUses {
 public:
  // `object`: DiskObject::hash().
  void add(const Hash128& object, uint32_t turn);
  // Its turn has come, or will not come. Nothing when that use is not known.
  void remove(const Hash128& object, uint32_t turn);
  // The file is another object now: what was known of the old one holds of it, also for remove().
  void replaced(const Hash128& old, const Hash128& now);

  uint32_t next_after(const Hash128& object, uint32_t block, uint32_t time) const override;
  uint64_t bytes() const;  // of memory

 private:
  using Turns = std::vector<uint32_t>;  // latest first
  const Hash128& newest(const Hash128& object) const;

  mutable std::mutex mutex_;
  std::unordered_map<Hash128, Turns, HashOfHash128> turns_;
  std::unordered_map<Hash128, Hash128, HashOfHash128> replaced_;
  uint64_t uses_ = 0;
};

}  // namespace headrace::mount
