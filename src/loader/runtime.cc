// SPDX-License-Identifier: Apache-2.0
#include "loader/runtime.h"

#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <string>
#include <thread>

#include "loader/host.h"

namespace headrace {
namespace {

constexpr uint64_t kMemoryDefaultMax = uint64_t{4} << 30;
// The pool may keep what the budget allows and a partly used slab of each class (sys/buffer_pool.h).
constexpr uint64_t kPoolSlack = 64ull << 20;
// preads and writes block: a few threads keep a disk busy and cost nothing when idle.
constexpr size_t kDiskThreads = 8;

}  // namespace

RuntimeOptions Runtime::defaults() {
  const uint32_t cores = usable_cores(), ranks = local_ranks();
  RuntimeOptions options;
  options.loops = std::clamp<uint32_t>(cores / (8 * ranks), 1, 4);
  options.workers = std::max<uint32_t>(1, cores / (2 * ranks));
  if (const auto wanted = threads_wanted()) options.workers = *wanted;
  options.memory_bytes = std::min(kMemoryDefaultMax, usable_memory_bytes() / 4 / ranks);
  return options;
}

Runtime::Runtime(RuntimeOptions options)
    : options_(options), pid_(::getpid()), budget_(Budget::root("the process's memory budget", options.memory_bytes)),
      buffers_(std::make_shared<BufferPool>(budget_, options.memory_bytes + kPoolSlack)) {
  for (uint32_t i = 0; i < options_.loops; ++i) {
    loops_.push_back(std::make_unique<EventLoop>(("hr-loop-" + std::to_string(i)).c_str()));
  }
  workers_ = std::make_unique<ThreadPool>(options_.workers, "hr-worker");
}

Runtime::~Runtime() {
  if (::getpid() != pid_) {
    // A forked child: the threads were never ours; nothing to join, and their locks may be held for ever.
    for (auto& loop : loops_) loop.release();  // NOLINT(bugprone-unused-return-value): left to the parent's copy
    workers_.release();                        // NOLINT(bugprone-unused-return-value)
    decoders_.release();                       // NOLINT(bugprone-unused-return-value)
    disk_threads_.release();                   // NOLINT(bugprone-unused-return-value)
    return;
  }
  for (auto& loop : loops_) loop->stop();
  workers_->close();
  if (decoders_) decoders_->close();
  for (const auto& [dir, cache] : disk_caches_) cache->stop();
  if (disk_threads_) disk_threads_->close();
}

ThreadPool& Runtime::decoders() {
  std::lock_guard lock(decoders_mutex_);
  if (!decoders_) decoders_ = std::make_unique<ThreadPool>(options_.workers, "hr-decode");
  return *decoders_;
}

ThreadPool& Runtime::disk_threads() {
  std::lock_guard lock(disk_mutex_);
  if (!disk_threads_) disk_threads_ = std::make_unique<ThreadPool>(kDiskThreads, "hr-disk");
  return *disk_threads_;
}

Result<std::shared_ptr<DiskCache>> Runtime::disk_cache(const std::string& dir, uint64_t bytes_max) {
  ThreadPool& threads = disk_threads();
  std::lock_guard lock(disk_mutex_);
  if (const auto it = disk_caches_.find(dir); it != disk_caches_.end()) return it->second;
  DiskCacheOptions options{dir, {.bytes_max = bytes_max}};
  HR_TRY_ASSIGN(std::shared_ptr<DiskCache> cache, DiskCache::open(std::move(options), SystemClock::instance()));
  disk_caches_.emplace(dir, cache);
  threads.post([cache] { cache->scan(); });
  return cache;
}

bool Runtime::on_own_thread() const {
  for (const auto& loop : loops_) {
    if (loop->on_loop_thread()) return true;
  }
  return workers_->on_worker_thread() || (decoders_ && decoders_->on_worker_thread()) ||
         (disk_threads_ && disk_threads_->on_worker_thread());
}

namespace {

// The last reference may go with a task on one of the runtime's own threads, which cannot join itself.
void retire(Runtime* runtime) {
  if (runtime->pid() == ::getpid() && runtime->on_own_thread()) {
    std::thread([runtime] { delete runtime; }).detach();
  } else {
    delete runtime;
  }
}

}  // namespace

std::shared_ptr<Runtime> Runtime::shared() {
  static std::mutex mutex;
  static std::weak_ptr<Runtime> current;
  // A child forked while another thread was here would find the lock held; it gets its own state instead.
  static pid_t owner = ::getpid();
  if (owner != ::getpid()) {
    owner = ::getpid();
    new (&mutex) std::mutex;
    new (&current) std::weak_ptr<Runtime>;
  }
  std::lock_guard lock(mutex);
  std::shared_ptr<Runtime> runtime = current.lock();
  if (!runtime) {
    runtime = std::shared_ptr<Runtime>(new Runtime(defaults()), retire);
    current = runtime;
  }
  return runtime;
}

void Runtime::raise_memory(uint64_t bytes) {
  if (bytes <= budget_->bytes_max()) return;
  budget_->set_bytes_max(bytes);
  buffers_->set_mapped_max(bytes + kPoolSlack);
}

}  // namespace headrace
