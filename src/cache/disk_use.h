// SPDX-License-Identifier: Apache-2.0
//
// DiskUse: what the processes that share a cache folder know of each other: one small file with the bytes and files in
// the folder, and locks on places of it (OFD locks: the kernel lets go of them when a process dies, however it dies).
//
// The numbers are never too small: room is taken before a file is made and given back after it is gone. A process that
// is killed in between leaves them too large until the next one that starts counts again (begin_recount()).
//
// Locks hold between processes, not between threads of one; calls from several threads are serialised here.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "base/result.h"

namespace headrace {

struct DiskTotals {
  uint64_t bytes = 0;
  uint64_t files = 0;
};

class DiskUse {
 public:
  // `token`: a number that no other process has.
  static Result<std::unique_ptr<DiskUse>> open(const std::string& path, uint32_t token);
  ~DiskUse();
  DiskUse(const DiskUse&) = delete;
  DiskUse& operator=(const DiskUse&) = delete;

  // Takes room for one more file; false when that would go above a limit (0: none). kUnavailable when another process
  // holds the file for long, kPermission, kExhausted, ... as the disk says.
  Result<bool> reserve(uint64_t bytes, DiskTotals most);
  Status release(uint64_t bytes);
  Result<DiskTotals> totals();

  // This process uses what lies in the folder with this hash, until it ends.
  void claim(uint64_t folder);
  bool claimed_by_others(uint64_t folder);
  // Is the process that took `token` alive?
  bool alive(uint32_t token);

  // A recount: while it lasts no process removes files (may_remove() below), so that what is added meanwhile is counted
  // once or twice, never not at all. False: another process is at it.
  Result<bool> begin_recount();
  // `counted`: what lay in the folder; nothing: the count stays as it is.
  Status end_recount(std::optional<DiskTotals> counted);
  // To be held while a file is removed and its room given back; false: not now.
  bool begin_remove();
  void end_remove();

 private:
  DiskUse(int fd, uint32_t token) : fd_(fd), token_(token) {}
  Status lock_counter();
  void unlock_counter();
  Result<DiskTotals> load();
  Status save(DiskTotals totals);
  Status add_since(DiskTotals counted);

  const int fd_;
  const uint32_t token_;
  std::mutex mutex_;         // one thread at a time at the numbers
  std::mutex remove_mutex_;  // ... at removing
  std::atomic<bool> recounting_{false};
  DiskTotals before_;        // when the recount began
  std::set<uint64_t> claims_;
};

}  // namespace headrace
