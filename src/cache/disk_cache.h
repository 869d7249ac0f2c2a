// SPDX-License-Identifier: Apache-2.0
//
// DiskCache: one cache folder as this process sees it: its files, what is known to be there, the health of the disk,
// and the counters. Shared by all stores of a process that cache in the folder (disk_store.h); other processes share
// the folder itself, and nothing else.
//
// Every call but the counters blocks on the disk: from threads that may, never from an event loop.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "cache/disk_files.h"
#include "cache/disk_health.h"
#include "cache/disk_index.h"
#include "sys/clock.h"
#include "sys/metrics.h"

namespace headrace {

struct DiskCacheOptions {
  std::string dir;  // absolute
  DiskLimits limits;
};

// Of one process, since it opened the folder.
struct DiskMetrics {
  Counter hits, hit_bytes;          // reads, and parts of reads, that were served from disk
  Counter misses;                   // blocks that were not there
  Counter writes, write_bytes;      // blocks put there
  Counter refused;                  // blocks that found no room, or were worth nobody's place
  Counter evictions;
  Counter corrupt;                  // blocks that were not what they should be: removed, read from the store
  Counter errors;                   // other failures of the disk
  Counter slow;                     // reads that did not wait for it any longer
  Counter bypassed;                 // reads that did not ask it, while it was known to be ill
};

class DiskCache {
 public:
  // Opens or makes the folder. Scan it afterwards: until then what lies there is found, but nothing is removed.
  static Result<std::shared_ptr<DiskCache>> open(DiskCacheOptions options, const Clock& clock);

  // What is there, dead processes' leavings removed, the count put right. Once; any thread.
  void scan();
  // Ends a scan that is under way soon.
  void stop() { stopping_ = true; }

  // `range` of the object, all in one block, at the front of `into` (which has room for a block), or empty: not there.
  Bytes read(const DiskObject& object, const BlockPlace& place, ByteRange range, MutableBytes into);
  // Is the block worth fetching to be kept? Then its room is taken: write() or unreserve().
  bool reserve(const DiskObject& object, const DiskIndex::Newcomer& newcomer);
  void unreserve(const DiskObject& object, uint32_t block);
  void write(const DiskObject& object, const BlockPlace& place, Bytes payload);
  // Somebody found its bytes wrong although they were what was written.
  void distrust(const BlockPlace& place);
  // A read waited long: the disk is left alone for a while.
  void on_slow();

  bool may_read() { return health_.may(DiskHealth::Way::kRead, clock_.now()); }
  DiskIndex& index() { return index_; }
  DiskFiles& files() { return *files_; }
  const DiskHealth& health() const { return health_; }
  DiskMetrics& metrics() { return metrics_; }
  const DiskCacheOptions& options() const { return options_; }

 private:
  DiskCache(DiskCacheOptions options, std::unique_ptr<DiskFiles> files, const Clock& clock);
  bool make_room(const DiskIndex::Newcomer& newcomer);
  enum class Found { kBlock, kNothing, kAnother };
  Found look(const DiskObject& object, const BlockPlace& place, ByteRange range, MutableBytes into, Bytes& bytes);
  Found drop_damaged(const BlockPlace& place, DiskIndex::Look since, const DiskFiles::Read& read);
  void on_failure(DiskHealth::Way way, const Status& status);

  const DiskCacheOptions options_;
  const Clock& clock_;
  const std::unique_ptr<DiskFiles> files_;
  DiskIndex index_;
  DiskHealth health_;
  DiskMetrics metrics_;
  std::atomic<bool> stopping_{false};
};

}  // namespace headrace
