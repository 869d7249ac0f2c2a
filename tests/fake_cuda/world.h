// SPDX-License-Identifier: Apache-2.0
//
// The fake GPU: streams of operations that run when somebody steps them, in an order that a seed draws; device memory
// that the host cannot touch; vector clocks that say which operations are ordered. Everything under one lock.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace fake {

using Clock = std::map<int, uint64_t>;  // stream: its operations that are known to come before
void join(Clock& into, const Clock& other);

struct Mark {  // a point of a stream
  Clock clock;
  bool done = false;
  uint64_t nanos = 0;
};

struct Op {
  std::function<void()> run;   // may be empty
  std::shared_ptr<Mark> wait;  // runs only when it is done
  std::shared_ptr<Mark> record;
  uint64_t nanos = 0;          // how long it takes on the device
  bool copy_engine = false;
  const void* source = nullptr;  // host memory that it reads
  size_t source_bytes = 0;
};

struct Stream {
  int id = 0;
  void* context = nullptr;
  bool destroyed = false;
  Clock clock;
  std::deque<Op> queue;
  uint64_t nanos = 0;
};

struct Event {
  void* context = nullptr;
  std::shared_ptr<Mark> mark;
};

struct Access {
  uint64_t begin, end;
  int stream;
  uint64_t tick;
  bool write;
};

struct Options {
  uint64_t seed = 1;
  int driver = 12080;
  int devices = 1;
  bool pools = true;
  bool refuse_register = false;
  bool checks = true;       // races are looked for
  bool eager = false;       // operations run at once (for measuring the host's cost)
  bool copy_data = true;    // copies move bytes
  bool strict = false;      // a violation ends the process
  bool timed = false;       // calls are timed
  uint64_t copy_rate = 50;  // bytes a nanosecond of device time
  uint64_t memory_bytes = uint64_t{1} << 32;
};

class World {
 public:
  static World& instance();
  // A device's primary context, and the calling thread's stack of them.
  static void* context_of(int device);
  static std::vector<void*>& contexts();
  static void* current() { return contexts().empty() ? context_of(0) : contexts().back(); }

  std::mutex mutex;
  Options options;
  std::mt19937_64 random{1};

  // All below with the mutex held.
  Stream* new_stream(void* context);
  Stream* find(void* handle);  // null and a violation when it is none
  void issue(Stream& stream, Op op);
  void touch(Stream& stream, uint64_t at, size_t bytes, bool write, const char* who);
  std::shared_ptr<Mark> record(Stream& stream);
  void wait(Stream& stream, const std::shared_ptr<Mark>& mark);
  bool step();
  void maybe_step();
  void finish(const std::shared_ptr<Mark>& mark);
  void finish(Stream& stream);
  void drain();
  void observe(const Clock& clock) { join(observed_, clock); }
  bool reads_pending(const void* at, size_t bytes) const;

  uint64_t allocate(size_t bytes, void* context, Stream* stream);  // 0: full
  // Whose memory of a device it is; null: no device's.
  void* context_of_memory(uint64_t at) const;
  void free_in_order(uint64_t at, Stream& stream);
  void free_now(uint64_t at);
  std::byte* bytes_of(uint64_t at);  // where the fake itself may touch it
  bool owns(uint64_t at) const;

  void violation(const std::string& what);
  void race(const std::string& what);

  std::map<const void*, size_t> registered;
  std::map<void*, std::unique_ptr<Event>> events;
  uint64_t races = 0, violations = 0, copies = 0, pageable_copies = 0, device_bytes = 0;
  std::string report;
  bool exited = false;

 private:
  struct Block {
    size_t size = 0;
    void* context = nullptr;
  };
  struct FreeBlock {
    uint64_t at;
    std::shared_ptr<Mark> mark;
    bool ran = false;
  };
  void map_memory();
  void run(Stream& stream);

  std::map<void*, std::unique_ptr<Stream>> streams_;
  std::map<std::pair<std::thread::native_handle_type, void*>, Stream*> per_thread_;
  std::map<void*, Stream*> legacy_;  // of each context
  int next_id_ = 1;
  std::map<void*, uint64_t> engine_nanos_;  // of each device's copy engine
  Clock observed_;
  std::vector<Access> accesses_;
  std::byte* seen_ = nullptr;   // PROT_NONE: what pointers say
  std::byte* alias_ = nullptr;  // the same memory, for the fake
  uint64_t next_ = 4096;
  std::map<uint64_t, Block> blocks_;
  std::multimap<std::pair<void*, size_t>, std::shared_ptr<FreeBlock>> free_;  // by device and size
};

}  // namespace fake
