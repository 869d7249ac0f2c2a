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

  // Takes room for one more file; false when that would go above a limit (0: none), or when somebody counts.
  // kUnavailable when another process holds the file for long, kPermission, kExhausted, ... as the disk says.
  Result<bool> reserve(uint64_t bytes, DiskTotals most);
  Status release(uint64_t bytes);
  Result<DiskTotals> totals();

  // This process uses what lies in the folder with this hash, until it ends.
  void claim(uint64_t folder);
  bool claimed_by_others(uint64_t folder);
  // Is the process that took `token` alive?
  bool alive(uint32_t token);

  // What changes files holds this, so that a recount sees none of it half done; the kernel drops it with the process.
  // False: somebody counts, not now. reserve() holds it until drop(), after the file is there or its room given back.
  bool hold();
  void drop();
  // False: files are being changed, or another process counts. Until its end nobody changes any.
  bool begin_recount();
  // `counted`: what lay in the folder; nothing: the count stays as it is.
  Status end_recount(std::optional<DiskTotals> counted);

 private:
  DiskUse(int fd, uint32_t token) : fd_(fd), token_(token) {}
  Status lock_counter();
  void unlock_counter();
  Result<DiskTotals> load();
  Status save(DiskTotals totals);
  Result<bool> take(uint64_t bytes, DiskTotals most);

  const int fd_;
  const uint32_t token_;
  std::mutex mutex_;         // one thread at a time at the numbers
  std::mutex hold_mutex_;    // guards the two below
  uint32_t holders_ = 0;
  bool recounting_ = false;
  std::set<uint64_t> claims_;
};

}  // namespace headrace
