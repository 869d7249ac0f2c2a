// SPDX-License-Identifier: Apache-2.0
//
// The reads of a DiskStore under way. Private to disk_store; outlives it while something is under way, and never owns
// the store below (which may not be taken down on its own executor).
//
//   read -> look (io): copy what is on disk, take room for what is not
//        -> fetch (executor): join loads, begin loads, pass through what has no room
//        -> load's answer -> hand over and write (io) -> answer (executor)
//
// Threads: look() and store_load() on io, close() and the numbers from any, the rest on the executor.
#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "cache/disk_store.h"
#include "sys/gate.h"

namespace headrace {

class DiskReads : public std::enable_shared_from_this<DiskReads> {
 public:
  DiskReads(const std::shared_ptr<ObjectStore>& inner, std::shared_ptr<DiskCache> cache, Executor& io,
            std::shared_ptr<BufferSource> buffers, const std::shared_ptr<Budget>& budget, DiskStoreOptions options);

  void read(ReadRequest request, UniqueFunction<void(ReadOutcome)> done, std::stop_token stop);
  void drop_idle_buffers() { idle_.clear(); }
  void close();

  uint64_t source() const { return reinterpret_cast<uintptr_t>(this); }  // DiskIndex::Newcomer::source
  uint64_t bytes_wanted() const { return bytes_wanted_; }
  uint64_t bytes_asked() const { return bytes_asked_; }

 private:
  struct Read;
  struct Load;
  using ReadPtr = std::shared_ptr<Read>;
  using LoadPtr = std::shared_ptr<Load>;
  struct BlockKey {
    std::array<uint8_t, 16> object;
    uint32_t block;
    auto operator<=>(const BlockKey&) const = default;
  };

  void begin(ReadPtr read);
  bool may_cache(const ReadRequest& request) const;
  void distrust(const ReadPtr& read);
  void watch(const ReadPtr& read);
  void tick();

  void look(const ReadPtr& read);
  bool copy_block(Read& read, uint32_t block, bool in_order);
  void look_again(const ReadPtr& read, uint32_t block);
  void on_looked(const ReadPtr& read);

  void fetch(const ReadPtr& read);
  bool join(const ReadPtr& read, size_t missing);
  size_t begin_load(const ReadPtr& read, size_t missing);
  void ask(const LoadPtr& load);
  void on_answer(const LoadPtr& load, ReadOutcome outcome);
  void store_load(const LoadPtr& load);
  void hand_over(const Load& load, Read& read) const;
  void end_load(const LoadPtr& load);
  void note_disk_bound();
  void pump();
  size_t pass_run(const ReadPtr& read, size_t missing);
  void give_back_room(const ReadPtr& read, size_t missing);

  void part_done(const ReadPtr& read, bool good);
  void abandon(const ReadPtr& read);
  void conclude(const ReadPtr& read);
  void pass(ReadRequest request, UniqueFunction<void(ReadOutcome)> done, std::stop_token stop);
  Buffer take_buffer();

  const std::weak_ptr<ObjectStore> inner_;
  const std::string name_;
  TimedExecutor& executor_;
  const std::shared_ptr<DiskCache> cache_;
  Executor& io_;
  const std::shared_ptr<BufferSource> buffers_;  // before all that holds buffers
  const DiskStoreOptions options_;
  const std::shared_ptr<ReadSpare> spare_;  // may be null
  std::stop_source stop_;
  Gate gate_;
  std::atomic<uint64_t> bytes_wanted_{0};
  std::atomic<uint64_t> bytes_asked_{0};

  std::vector<Buffer> idle_;
  uint32_t buffers_out_ = 0;  // held by loads
  uint32_t fetching_ = 0;     // loads that are not answered yet
  std::map<BlockKey, LoadPtr> loads_;
  std::deque<ReadPtr> waiting_;  // for buffers
  std::deque<std::weak_ptr<Read>> watched_;  // looks under way, oldest first
  bool ticking_ = false;
  std::optional<TimePoint> bound_since_;
  TimePoint window_from_{};
  Nanos bound_for_{};  // in this window
};

}  // namespace headrace
