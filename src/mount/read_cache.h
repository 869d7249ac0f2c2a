// SPDX-License-Identifier: Apache-2.0
//
// Bytes of open files in memory: fetched as the file's pattern advises, held in pieces of any size, dropped when the
// budget needs the room. Every GET names the ETag that the file was opened with, so a file is one version or an error.
//
// What goes first when memory is short: pieces that were read to their end (the kernel has them in its page cache), the
// longest unused first; then what was read ahead; then what a plan fetched, the latest needed first. A reader that
// waits may take all of these; reading ahead takes only the first kind.
//
// read() blocks the calling thread; completions come on the store's executor. Any thread.
#pragma once

#include <condition_variable>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "mount/pattern.h"
#include "mount/stats.h"
#include "store/object_store.h"
#include "sys/budget.h"
#include "sys/buffer_source.h"

namespace headrace::mount {

class ReadCache;
class CachedFile;

struct ReadCacheOptions {
  PatternOptions pattern;
  // Kept of what was read to its end, in case somebody comes back to it: the kernel has it in its page cache. Memory
  // that is used again costs a sixth to a third of a second a GB less than memory that is touched for the first time.
  uint64_t used_bytes_max = 128 << 20;
  // Of one read(): 60 s of retries and one attempt's own timeouts.
  Nanos read_deadline{std::chrono::seconds(90)};
};

// A part of a file, held or on its way.
struct Piece {
  ByteRange range;
  Buffer buffer;
  enum class State { kLoading, kReady, kFailed } state = State::kLoading;
  enum class Rank { kUsed, kAhead, kPlanned, kNone } rank = Rank::kNone;  // of which list, once ready
  Status status;                                                          // of a failed one
  uint64_t read_to = 0;                                                   // the end of what was read of it
  uint64_t plan_place = 0;                                                // 0: no plan asked for it
  uint32_t pins = 0;  // readers that wait for more and need this, too
  std::list<Piece*>::iterator place{};
  CachedFile* file = nullptr;  // null once the file has dropped it
};

// One version of one object.
class CachedFile {
 public:
  CachedFile(ReadCache& cache, std::string key, std::string etag, uint64_t size, const PatternOptions& pattern);
  ~CachedFile();

  const std::string& key() const { return key_; }
  const std::string& etag() const { return etag_; }
  uint64_t size() const { return size_; }

 private:
  friend class ReadCache;
  ReadCache& cache_;
  const std::string key_, etag_;
  const uint64_t size_;
  // Under the cache's lock:
  Pattern pattern_;
  std::map<uint64_t, std::shared_ptr<Piece>> pieces_;  // by their begin; disjoint
  std::stop_source stop_;                              // of what is on its way
  std::condition_variable changed_;
  uint64_t unread_bytes_ = 0;  // loading, or never read to the end
  bool read_since_closed_ = false;
  uint64_t used_at_ = 0;       // of uses_: its last read ...
  uint64_t planned_for_ = 0;   // ... and the last one that a plan has taken into account
};

// What fetch_planned() did: how many pieces the plan will be told of; had some to be left out for want of memory; was
// the reader there first, so that nothing is to be fetched for him?
struct PlannedFetch {
  uint32_t pieces = 0;
  bool refused = false;
  bool overtaken = false;
};

// Bytes to hand to the reader, and what keeps them.
struct ReadBytes {
  std::vector<Bytes> parts;
  std::vector<std::shared_ptr<const Piece>> keep;
  uint64_t size = 0;
};

class ReadCache {
 public:
  // `store` must outlive the requests; close() waits for them.
  ReadCache(std::shared_ptr<ObjectStore> store, std::shared_ptr<BufferSource> buffers, std::shared_ptr<Budget> budget,
            MountStats& stats, ReadCacheOptions options);
  ~ReadCache();

  std::shared_ptr<CachedFile> open(std::string key, std::string etag, uint64_t size);
  // The bytes of `range`, which is cut to the file. kPrecondition, kNotFound: the object is not what it was.
  Result<ReadBytes> read(CachedFile& file, ByteRange range);
  // Nobody has the file open: what is on its way for nobody is cancelled.
  void idle(CachedFile& file);
  // Sees to it that up to `bytes_max` of the file are held until they are read, for a plan whose `place` (not 0) names
  // the file: fetches what is missing. Not of a file that was used after `since` (uses(), when the plan began) without
  // a plan that expected it: its reader was faster.
  PlannedFetch fetch_planned(CachedFile& file, uint64_t place, uint64_t bytes_max, uint64_t since);
  // Uses of files so far: a clock.
  uint64_t uses() const;
  // The plan does not expect the file to be read any more: what is held of it counts as used.
  void plan_passed(CachedFile& file);
  uint64_t planned_bytes() const;  // fetched or on their way, not read yet
  // Called (without a lock) when planned bytes were read or dropped, with the place of the piece.
  void on_plan_progress(UniqueFunction<void(uint64_t place)> call) { plan_progress_ = std::move(call); }
  // Drops used pieces until `bytes` were given back; true when they were. For other claimants of the budget.
  bool make_room(uint64_t bytes);
  // Bytes held of the file, for its xattr.
  uint64_t held_bytes(const CachedFile& file) const;
  // Cancels all, waits for the requests, refuses more.
  void close();

 private:
  friend class CachedFile;
  enum class Why { kDemand, kAhead, kPlan };
  struct Send {
    ReadRequest request;
    std::shared_ptr<Piece> piece;
    std::stop_token stop;
  };
  using Sends = std::vector<Send>;

  bool start_missing(CachedFile& file, ByteRange range, uint64_t chunk, Why why, uint64_t place, Sends* sends);
  bool start_piece(CachedFile& file, ByteRange range, Why why, uint64_t place, Sends* sends);
  Buffer take(uint64_t bytes, Why why);
  bool evict_one(Piece::Rank up_to);
  void send(Sends sends);
  void landed(const std::shared_ptr<Piece>& piece, ReadOutcome outcome);
  using Pieces = std::vector<std::shared_ptr<Piece>>;
  Pieces pinned(CachedFile& file, ByteRange range);
  static void unpin(const Pieces& pieces);
  Status wait_for(CachedFile& file, ByteRange range, const Pieces& pieces, std::unique_lock<std::mutex>& lock,
                  TimePoint deadline);
  ReadBytes collected(ByteRange range, const Pieces& pieces);
  Result<ReadBytes> read_locked(CachedFile& file, ByteRange range, std::unique_lock<std::mutex>& lock);
  uint32_t plan_piece(Piece& piece, uint64_t place);
  void mark_read(Piece& piece, uint64_t to);
  void set_rank(Piece& piece, Piece::Rank rank);
  void drop(Piece& piece);
  uint64_t window_now() const;
  void tell_plan(std::unique_lock<std::mutex>& lock);

  const std::shared_ptr<ObjectStore> store_;
  const std::shared_ptr<BufferSource> buffers_;
  const std::shared_ptr<Budget> budget_;
  MountStats& stats_;
  const ReadCacheOptions options_;
  UniqueFunction<void(uint64_t)> plan_progress_;

  mutable std::mutex mutex_;
  std::condition_variable room_;  // memory may be free
  std::list<Piece*> ranked_[3];   // by Rank; the first goes first
  uint64_t used_bytes_ = 0;
  uint64_t planned_bytes_ = 0;
  uint64_t busy_files_ = 0;  // with unread bytes
  uint64_t in_flight_ = 0;
  std::set<CachedFile*> files_;
  uint64_t uses_ = 0;
  std::vector<uint64_t> plan_done_;  // places to tell
  bool closed_ = false;
};

}  // namespace headrace::mount
