// SPDX-License-Identifier: Apache-2.0
//
// The plan: files that will be read soon, in order, as somebody says who knows (a training job's sampler). They are
// fetched whole, many at a time, before their readers open them, as far ahead as `bytes_ahead_max` goes.
//
// Several plans at once take turns. A plan moves on as its files are read; a file that is passed by, because files far
// behind it are being read, is given up, and one that its reader came to first is left out. What a plan says is advice:
// a wrong one costs requests, never an error.
//
// Over a disk cache, what plans name beyond that is kept, too, as far as its memory goes: they say which files come
// soonest, and those stay on the disk (plan_future.h).
#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "mount/mount.h"
#include "mount/plan_future.h"

namespace headrace::mount {

struct PlanOptions {
  uint64_t bytes_ahead_max = 1 << 30;
  // Of one file; the rest of a larger one is read ahead when it is open. Two GETs.
  uint64_t file_bytes_max = 8 << 20;
  // Paths taken from one plan and not looked at yet: 1 MB of them. Who sends more waits, unless the cache has a use for
  // them.
  size_t paths_max = 8192;
  std::shared_ptr<DiskStore> disk;  // the disk cache under the mount, or null
  uint64_t future_bytes_max = 0;    // for all that plans have named, over a disk cache: 200 bytes a file
  // Readers need not keep the order exactly: 16 workers with two batches of 128 each are so far apart.
  uint64_t slack_files_max = 4096;
};

class Plan {
 public:
  using Id = uint64_t;

  Plan(Mount& mount, PlanOptions options);
  ~Plan();

  Id begin();
  // The next file of the plan, as a path from the top. Waits while paths_max of them are waiting. False: no more is
  // wanted.
  bool add(Id id, std::string path);
  // All has been added. `whole` false: what was not begun is not wanted any more.
  void end(Id id, bool whole);
  uint64_t waiting() const;
  // Gives up everything; add() returns false from then on.
  void close();

 private:
  struct Ahead {
    Ino ino = 0;
    std::shared_ptr<CachedFile> file;
    uint32_t pieces = 0;  // not read yet
  };
  struct Coming {
    std::string path;
    uint32_t turn = 0;
    std::optional<Hash128> object;  // that it was when it was named, where that is known and matters
  };
  struct Source {
    std::deque<Coming> paths;
    std::map<uint64_t, Ahead> ahead;  // by number
    uint64_t next = 0;                // number of the next file
    uint64_t reached = 0;             // the highest number that was read
    uint64_t began = 0;               // of the read cache's uses()
    uint64_t unknown = 0;             // files of which nothing was known when they were named
    bool ended = false;
  };
  void run();
  bool next_path(std::unique_lock<std::mutex>& lock, Id* id, Coming* coming);
  void fetch(Id id, const Coming& coming, std::unique_lock<std::mutex>& lock);
  void on_read(uint64_t place);
  bool give_up_passed(std::unique_lock<std::mutex>& lock);  // true: it let go of the lock
  void forget(const Ahead& ahead);
  std::optional<Hash128> object_of(Id id, const std::string& path);
  Hash128 hash_of(const std::string& key, const std::string& etag, uint64_t size) const;
  bool wait_for_room(Id id, std::unique_lock<std::mutex>& lock);
  void let_go_of_memory();
  static uint64_t bytes_of(const Coming& coming);

  Mount& mount_;
  const PlanOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<Id, Source> sources_;
  const std::shared_ptr<PlanFuture> future_;  // null without a disk cache
  uint64_t turn_ = 0;                         // of the file that was fetched last
  uint64_t path_bytes_ = 0;                   // of all paths that wait
  uint64_t held_bytes_ = 0;                   // of the budget, for the future
  Id last_id_ = 0, last_turn_ = 0;
  std::vector<Ahead> done_;  // to be forgotten, without the lock
  bool closing_ = false;
  std::thread thread_;
};

}  // namespace headrace::mount
