// SPDX-License-Identifier: Apache-2.0
//
// DiskUse: what the processes that share a cache folder know of each other: one small file with the bytes and files in
// the folder, and locks on places of it (OFD locks: the kernel lets go of them when a process dies, however it dies).
//
// The numbers are never too small: room is taken before a file is made and given back after it is gone. A process that
// is killed in between leaves them too large until the next one that starts counts again. Nobody waits for a count: how
// much was taken and given back while it went on is known as well, and bounds what it may have missed (end_recount()).
//
// Locks hold between processes, not between threads of one; calls from several threads are serialised here.
#pragma once

#include <cstdint>
#include <functional>
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

  // Takes room for one more file; false when that would go above a limit (0: none). It is on its way then, until
  // settle() (the file is there) or unreserve() (there is none, and the room is given back).
  // kUnavailable when another process holds the count for long, kPermission, kExhausted, ... as the disk says.
  Result<bool> reserve(uint64_t bytes, DiskTotals most);
  void settle();
  Status unreserve(uint64_t bytes);
  // `unlink` removes one file and says how large it was; nothing: it did not. No other remove() runs meanwhile, in any
  // process, so that what it looks at is what it removes (files are never replaced, only removed and made).
  Result<bool> remove(const std::function<Result<std::optional<uint64_t>>()>& unlink);
  Result<DiskTotals> totals();

  // This process uses what lies in the folder with this hash, until it ends.
  void claim(uint64_t folder);
  bool claimed_by_others(uint64_t folder);
  // Is the process that took `token` alive?
  bool alive(uint32_t token);

  struct Count {
    DiskTotals now;
    DiskTotals taken, given;  // ever; they wrap
  };
  // The state to count from; nothing while a file is on its way in any living process.
  Result<std::optional<Count>> begin_recount();
  // `seen`: all files that lay in the folder from `from` until now, and any that came or went since. The count is moved
  // no further than that proves it wrong: to what was seen if nothing changed meanwhile, else as near.
  Status end_recount(const Count& from, DiskTotals seen);

 private:
  DiskUse(int fd, uint32_t token) : fd_(fd), token_(token) {}
  Status lock_counter();
  void unlock_counter();
  Result<Count> load();
  Status save(const Count& count);
  // `change` works on the count, which nobody else reads or writes meanwhile, and says whether it is to be saved.
  Result<bool> update(const std::function<Result<bool>(Count&)>& change);
  void hold();
  void drop();

  const int fd_;
  const uint32_t token_;
  std::mutex mutex_;      // one thread at a time at the numbers
  uint32_t on_way_ = 0;   // files of this process; while there are any, a lock says so to the others
  std::set<uint64_t> claims_;
};

}  // namespace headrace
