// SPDX-License-Identifier: Apache-2.0
//
// What a KeepStore holds: objects cut into ranges, each absent, wanted, asked for, or here, and the reads that wait for
// them. Private to keep_store; outlives it while loads are under way, and never owns the store below (which may not be
// taken down on its own executor).
//
// Threads: reserve() before anything else; stop(), await_end() and the numbers from any; the rest on the executor.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "cache/keep_store.h"
#include "sys/gate.h"

namespace headrace {

class KeptObjects : public std::enable_shared_from_this<KeptObjects> {
 public:
  KeptObjects(const std::shared_ptr<ObjectStore>& inner, std::shared_ptr<BufferSource> buffers, KeepOptions options);

  // Takes the memory of all `objects`, or false and none.
  bool reserve(const std::vector<ObjectMeta>& objects);
  using Done = UniqueFunction<void(ReadOutcome, LentBytes)>;
  void read(ReadRequest request, bool may_borrow, Done done, std::stop_token stop);
  // Gives back at least `bytes` if there is so much: whole objects, which are kept no more.
  void drop(uint64_t bytes);
  // Cancels the loads; on the executor then lets readers and memory go. Again: nothing.
  void stop();
  // Until what stop() began is done.
  void await_end() { gate_.close(); }

  uint64_t bytes_held() const { return bytes_held_; }
  uint64_t bytes_asked() const { return bytes_asked_; }

 private:
  struct Reader;  // a read that waits
  struct Memory {
    std::shared_ptr<BufferSource> source;  // outlives the buffer
    Buffer buffer;
  };
  struct Range {
    enum class State { kAbsent, kWanted, kAsked, kHere };
    State state = State::kAbsent;
    ByteRange bytes;
    std::shared_ptr<const Memory> memory;
    bool lent = false;  // `memory` was: whoever borrowed it reads it
    std::vector<std::shared_ptr<Reader>> readers;
  };
  struct Object {
    ObjectMeta meta;
    std::string etag;  // meta's, or that of the first range where meta has none
    std::vector<Range> ranges;
    size_t next_fill = 0;
    uint32_t failures = 0;
    bool touched = false;
    bool kept = true;
  };
  struct Place {
    Object* object;
    size_t range;
  };

  Object* find(const ReadRequest& request);
  size_t index_of(uint64_t offset) const { return offset / options_.range_bytes; }
  bool all_here(const Object& object, ByteRange bytes) const;
  void distrust(Object& object, ByteRange bytes);
  void wait(Object& object, std::shared_ptr<Reader> reader);
  void serve(Object& object, const ReadRequest& request, bool may_borrow, Done done) const;
  static void copy(const Object& object, const ReadRequest& request, size_t first, size_t last);
  void finish(const std::shared_ptr<Reader>& reader);
  void pass_on(ReadRequest request, Done done, std::stop_token stop);

  void load();
  std::optional<Place> next_load();
  void ask(Place place);
  std::shared_ptr<const Memory> take(uint64_t bytes) const;
  bool may_write(Range& range) const;
  void on_answer(Place place, ReadOutcome outcome);
  void on_failure(Object& object, const ReadOutcome& outcome);
  uint64_t keep_no_more(Object& object);
  uint64_t free(Range& range);

  const std::weak_ptr<ObjectStore> inner_;
  const std::string name_;
  TimedExecutor& executor_;
  const std::shared_ptr<BufferSource> buffers_;  // before the ranges: outlives their buffers
  const KeepOptions options_;
  std::stop_source stop_;
  Gate gate_;
  std::atomic<uint64_t> bytes_held_{0};
  std::atomic<uint64_t> bytes_asked_{0};

  std::vector<std::unique_ptr<Object>> objects_;
  std::unordered_map<std::string, Object*> by_key_;
  std::deque<Place> wanted_;    // in the order they were asked for
  std::deque<Object*> filling_;  // touched, not yet all asked for
  uint32_t loads_ = 0;
};

}  // namespace headrace
