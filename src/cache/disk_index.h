// SPDX-License-Identifier: Apache-2.0
//
// DiskIndex: which blocks this process knows to be on the disk, and which of them goes when another one wants its
// place. A hint, not the truth: files come and go by other processes' hands, and a read finds out.
//
// Who may take whose place:
//   - planned traffic (a loader's data set: every block is wanted once an epoch) takes that of blocks that nobody
//     claims, oldest first; of its own kind only the one that is needed latest, and only if that is later than the
//     newcomer will be (Belady). Without known uses nothing planned is replaced: with one access an epoch in random
//     order that is as good as Belady, and LRU the worst there is.
//   - unknown traffic (a mount) takes the place of what was used longest ago among blocks that nobody claims. One of
//     which a use is known (a mount's plan) is as planned traffic while it is.
// The victim is the best of a sample of kSample: within the worst 1/kSample of all with a chance of 1 - 1/e, at no cost
// of keeping an order.
//
// Pure but for the mutex: times are given, who claims what is asked of a function.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cache/disk_files.h"
#include "cache/future_uses.h"
#include "sys/random.h"

namespace headrace {

class DiskIndex {
 public:
  explicit DiskIndex(uint64_t seed) : random_(seed) {}

  // `used`: any clock, larger is later.
  void add(const BlockPlace& place, uint64_t file_bytes, int64_t used);
  // As add(), of a file that was just made: whoever looked before has not seen it.
  void add_new(const BlockPlace& place, uint64_t file_bytes, int64_t used);
  // As add(), between begin_scan() and end_scan(), of a file seen a while ago: not if it was removed meanwhile.
  void add_scanned(const BlockPlace& place, uint64_t file_bytes, int64_t used);
  void begin_scan();
  void end_scan();
  void remove(const BlockPlace& place);
  // For who looks at the disk and then says what is there: look() first. Others come and go meanwhile, so
  // found() adds nothing that was removed since, and remove() removes nothing that was made since.
  struct Look {
    uint32_t version = 0;   // of the entry; 0: there is none, or it is of a file that this process did not make
    uint32_t removals = 0;  // in the place's part of the index
  };
  Look look(const BlockPlace& place) const;
  void found(const BlockPlace& place, uint64_t file_bytes, int64_t used, Look since);
  void remove(const BlockPlace& place, Look since);
  void touch(const BlockPlace& place, int64_t used);
  bool has(const BlockPlace& place) const;
  uint64_t blocks() const;
  uint64_t bytes() const;

  // A loader of this process is at this object; as often as it is called with true.
  void plan(const Hash128& object, uint64_t folder, bool begin);
  // When blocks will be needed, of one data set or mount; null: not known any more.
  void set_uses(uint64_t source, std::shared_ptr<const KnownUses> uses);

  struct Newcomer {
    BlockPlace place;
    bool planned = false;
    uint64_t source = 0;  // whose uses it is among
    uint32_t now = 0;     // the time of the use that brings it
  };
  // The block to remove for it; nothing: it is not worth any.
  std::optional<BlockPlace> victim(const Newcomer& newcomer, const std::function<bool(uint64_t folder)>& claimed);

  static constexpr uint32_t kSample = 64;

 private:
  struct Object {
    Hash128 hash;
    uint64_t folder = 0;
    uint32_t planned = 0;
    std::vector<uint32_t> slots;  // by block: 1 + place in entries_, 0 where it is not here
  };
  struct Entry {
    uint32_t object, block;
    int64_t used;
    uint32_t file_bytes;
    uint32_t version;
  };
  Entry& put(const BlockPlace& place, uint64_t file_bytes, int64_t used);
  void erase(const BlockPlace& place, const Entry* entry);
  static uint8_t part_of(const BlockPlace& place) { return static_cast<uint8_t>(place.object.bytes[0] + place.block); }
  Object& object_of(const BlockPlace& place, uint32_t& number);
  const Entry* find(const BlockPlace& place) const;
  uint32_t next_use(const Hash128& object, uint32_t block, uint32_t now) const;

  mutable std::mutex mutex_;
  std::unordered_map<Hash128, uint32_t, HashOfHash128> numbers_;
  std::vector<Object> objects_;
  std::vector<Entry> entries_;
  uint32_t last_version_ = 0;
  std::array<uint32_t, 256> removals_{};  // by part_of(): who removes elsewhere does not hinder found()
  bool scanning_ = false;
  std::set<std::pair<std::array<uint8_t, 16>, uint32_t>> removed_;  // since the scan began: object, block
  uint64_t bytes_ = 0;
  std::unordered_map<uint64_t, std::shared_ptr<const KnownUses>> uses_;
  SeededRandom random_;
};

}  // namespace headrace
