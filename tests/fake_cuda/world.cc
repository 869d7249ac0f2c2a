// SPDX-License-Identifier: Apache-2.0
#include "world.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace fake {

void join(Clock& into, const Clock& other) {
  for (const auto& [stream, tick] : other) {
    uint64_t& mine = into[stream];
    mine = std::max(mine, tick);
  }
}

World& World::instance() {
  static auto* world = new World;
  return *world;
}

void* World::context_of(int device) {
  static int bodies[64];
  return &bodies[device];
}

std::vector<void*>& World::contexts() {
  thread_local std::vector<void*> stack;
  return stack;
}

void World::violation(const std::string& what) {
  ++violations;
  report = "violation: " + what;
  if (options.strict) {
    std::fprintf(stderr, "fake CUDA: %s\n", report.c_str());
    std::abort();
  }
}

void World::race(const std::string& what) {
  ++races;
  report = "race: " + what;
}

// --- streams ---------------------------------------------------------------------------------------------------------

Stream* World::new_stream(void* context) {
  auto made = std::make_unique<Stream>();
  Stream* stream = made.get();
  stream->id = next_id_++;
  stream->context = context;
  streams_.emplace(stream, std::move(made));
  return stream;
}

Stream* World::find(void* handle) {
  const auto number = reinterpret_cast<uintptr_t>(handle);
  if (number == 0) {
    violation("the NULL stream");
    return nullptr;
  }
  if (number == 1 || number == 2) {
    void* context = current();
    Stream*& mine = number == 1 ? legacy_[context] : per_thread_[{::pthread_self(), context}];
    return mine ? mine : mine = new_stream(context);
  }
  auto found = streams_.find(handle);
  if (found == streams_.end() || found->second->destroyed) {
    violation("a stream that is destroyed, or none");
    return nullptr;
  }
  return found->second.get();
}

void World::issue(Stream& stream, Op op) {
  join(stream.clock, observed_);
  ++stream.clock[stream.id];
  stream.queue.push_back(std::move(op));
  if (options.eager) finish(stream);
}

// Compares with every access of the same bytes that is not known to come before; call it before issue().
void World::touch(Stream& stream, uint64_t at, size_t bytes, bool write, const char* who) {
  if (!options.checks || bytes == 0) return;
  Clock known = stream.clock;
  join(known, observed_);
  const uint64_t end = at + bytes;
  std::erase_if(accesses_, [&](const Access& other) {
    if (other.end <= at || end <= other.begin) return false;
    const bool ordered = other.stream == stream.id || known[other.stream] >= other.tick;
    if (!ordered && (write || other.write)) {
      race(std::string(who) + " on stream " + std::to_string(stream.id) + " and a " +
           (other.write ? "write" : "read") + " on stream " + std::to_string(other.stream) + " of the same bytes");
    }
    return ordered && write && at <= other.begin && other.end <= end;
  });
  accesses_.push_back({at, end, stream.id, stream.clock[stream.id] + 1, write});
}

std::shared_ptr<Mark> World::record(Stream& stream) {
  auto mark = std::make_shared<Mark>();
  issue(stream, Op{.record = mark});
  mark->clock = stream.clock;
  return mark;
}

void World::wait(Stream& stream, const std::shared_ptr<Mark>& mark) {
  if (!mark) return;  // never recorded: the driver does not wait, either
  join(stream.clock, mark->clock);
  issue(stream, Op{.wait = mark});
}

void World::run(Stream& stream) {
  Op op = std::move(stream.queue.front());
  stream.queue.pop_front();
  uint64_t begin = stream.nanos;
  if (op.wait) begin = std::max(begin, op.wait->nanos);
  uint64_t& engine_nanos = engine_nanos_[stream.context];
  if (op.copy_engine) begin = std::max(begin, engine_nanos);
  stream.nanos = begin + op.nanos;
  if (op.copy_engine) engine_nanos = stream.nanos;
  if (op.run) op.run();
  if (op.record) {
    op.record->done = true;
    op.record->nanos = stream.nanos;
  }
}

bool World::step() {
  std::vector<Stream*> ready;
  for (const auto& [handle, stream] : streams_) {
    if (stream->queue.empty()) continue;
    const Op& head = stream->queue.front();
    if (!head.wait || head.wait->done) ready.push_back(stream.get());
  }
  if (ready.empty()) return false;
  run(*ready[random() % ready.size()]);
  return true;
}

// Between calls the GPU may have got on, or not: a third of the seeds are lazy, the others run now and then.
void World::maybe_step() {
  const uint64_t mood = options.seed % 3;
  if (mood == 0) return;
  const uint64_t steps = mood == 1 ? (random() % 8 == 0 ? random() % 16 : 0) : random() % 3;
  for (uint64_t i = 0; i < steps && step(); ++i) {
  }
}

void World::finish(const std::shared_ptr<Mark>& mark) {
  while (!mark->done) {
    if (!step()) {
      std::fprintf(stderr, "fake CUDA: no operation can run, and an event is waited for\n");
      std::abort();
    }
  }
  observe(mark->clock);
}

void World::finish(Stream& stream) {
  while (!stream.queue.empty()) {
    if (!step()) std::abort();
  }
  observe(stream.clock);
}

void World::drain() {
  while (step()) {
  }
  for (const auto& [handle, stream] : streams_) observe(stream->clock);
}

bool World::reads_pending(const void* at, size_t bytes) const {
  const auto begin = reinterpret_cast<uintptr_t>(at);
  for (const auto& [handle, stream] : streams_) {
    for (const Op& op : stream->queue) {
      const auto source = reinterpret_cast<uintptr_t>(op.source);
      if (op.source != nullptr && source < begin + bytes && begin < source + op.source_bytes) return true;
    }
  }
  return false;
}

// --- memory ----------------------------------------------------------------------------------------------------------

void World::map_memory() {
  const int file = ::memfd_create("fake-gpu", MFD_CLOEXEC);
  const auto size = static_cast<off_t>(options.memory_bytes);
  if (file < 0 || ::ftruncate(file, size) != 0) std::abort();
  void* seen = ::mmap(nullptr, options.memory_bytes, PROT_NONE, MAP_SHARED | MAP_NORESERVE, file, 0);
  void* alias = ::mmap(nullptr, options.memory_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file, 0);
  if (seen == MAP_FAILED || alias == MAP_FAILED) std::abort();
  ::close(file);
  seen_ = static_cast<std::byte*>(seen);
  alias_ = static_cast<std::byte*>(alias);
}

bool World::owns(uint64_t at) const {
  const auto base = reinterpret_cast<uint64_t>(seen_);
  return seen_ != nullptr && at >= base && at < base + options.memory_bytes;
}

// Other memory stands in for the device's: a test's host tensors.
std::byte* World::bytes_of(uint64_t at) {
  return owns(at) ? alias_ + (at - reinterpret_cast<uint64_t>(seen_)) : reinterpret_cast<std::byte*>(at);
}

void* World::context_of_memory(uint64_t at) const {
  auto block = blocks_.upper_bound(at);
  if (block == blocks_.begin()) return nullptr;
  --block;
  return at < block->first + block->second.size ? block->second.context : nullptr;
}

uint64_t World::allocate(size_t bytes, void* context, Stream* stream) {
  if (seen_ == nullptr) map_memory();
  const size_t size = (bytes + 511) / 512 * 512;
  uint64_t at = 0;
  // The same address again as soon as may be: that is what shows a block freed too early.
  auto found = free_.find({context, size});
  if (found != free_.end() && (stream != nullptr || found->second->ran)) {
    at = found->second->at;
    if (stream != nullptr) {
      wait(*stream, found->second->mark);  // the pool's own dependency
    } else if (found->second->mark) {
      observe(found->second->mark->clock);  // cuMemAlloc gives out what is idle
    }
    free_.erase(found);
  } else {
    if (next_ + size > options.memory_bytes) return 0;
    at = reinterpret_cast<uint64_t>(seen_) + next_;
    next_ += size;
    if (options.checks) std::memset(bytes_of(at), 0xCD, size);
  }
  blocks_[at] = {size, context};
  device_bytes += size;
  return at;
}

void World::free_in_order(uint64_t at, Stream& stream) {
  auto block = blocks_.find(at);
  if (block == blocks_.end()) return violation("freeing what is not allocated");
  const auto [size, context] = block->second;
  if (context != stream.context) violation("freeing on another device's stream");
  blocks_.erase(block);
  device_bytes -= size;
  touch(stream, at, size, true, "a free");
  auto freed = std::make_shared<FreeBlock>();
  freed->at = at;
  issue(stream, Op{.run = [this, freed, size = size] {
                     if (options.checks) std::memset(bytes_of(freed->at), 0xDD, size);
                     freed->ran = true;
                   }});
  freed->mark = record(stream);
  free_.emplace(std::pair(context, size), std::move(freed));
}

void World::free_now(uint64_t at) {
  auto block = blocks_.find(at);
  if (block == blocks_.end()) return violation("freeing what is not allocated");
  drain();  // as cuMemFree waits for the device
  const auto [size, context] = block->second;
  blocks_.erase(block);
  device_bytes -= size;
  if (options.checks) std::memset(bytes_of(at), 0xDD, size);
  auto freed = std::make_shared<FreeBlock>();
  freed->at = at;
  freed->ran = true;
  free_.emplace(std::pair(context, size), std::move(freed));
}

}  // namespace fake
