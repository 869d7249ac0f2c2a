// SPDX-License-Identifier: Apache-2.0
//
// Runtime: what one process has once, however many data sets and loaders it opens: event loops with their transports,
// the worker pool, the memory budget and the buffer pool. Made at first use, gone with the last user; nothing runs at
// import. A forked child never touches its parent's: `shared()` sees the new pid and makes a fresh one.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cache/disk_cache.h"
#include "net/epoll_transport.h"
#include "net/event_loop.h"
#include "store/admission_table.h"
#include "sys/budget.h"
#include "sys/buffer_pool.h"
#include "sys/executor.h"

namespace headrace {

struct RuntimeOptions {
  uint32_t loops = 1;
  uint32_t workers = 1;
  uint64_t memory_bytes = 1ull << 30;
};

class Runtime {
 public:
  explicit Runtime(RuntimeOptions options);
  ~Runtime();

  // The process's runtime. Defaults: loops = max(1, cores / (8 x local ranks)), workers = max(1, cores / (2 x local
  // ranks)) with cores = affinity and cgroup quota, or HEADRACE_THREADS, memory = 25 % of the cgroup's limit / local
  // ranks, at most 4 GiB. Local ranks from LOCAL_WORLD_SIZE.
  static std::shared_ptr<Runtime> shared();
  // Defaults as shared() would use them.
  static RuntimeOptions defaults();

  const RuntimeOptions& options() const { return options_; }
  EventLoop& loop(size_t i = 0) { return *loops_[i]; }
  size_t loops() const { return loops_.size(); }
  ThreadPool& workers() { return *workers_; }
  // Threads that may take the GIL: units are decoded on them (loader/arrow_decoder.h). Made at first use, as many as
  // workers.
  ThreadPool& decoders();
  const std::shared_ptr<Budget>& budget() { return budget_; }
  const std::shared_ptr<BufferPool>& buffers() { return buffers_; }
  // Threads that may wait for a disk: the disk caches' work. Made at first use.
  ThreadPool& disk_threads();
  // The process's view of a cache folder, scanned on disk_threads(): one for all who open the same folder, whose limits
  // are the first opener's.
  Result<std::shared_ptr<DiskCache>> disk_cache(const std::string& dir, uint64_t bytes_max);
  // How many requests each endpoint gets from this process: one admission for all its stores.
  AdmissionTable& admissions() { return admissions_; }
  pid_t pid() const { return pid_; }
  // Is the caller one of the threads that the destructor would join?
  bool on_own_thread() const;
  // Raises the process's budget to at least `bytes` (a loader's stated memory=).
  void raise_memory(uint64_t bytes);

 private:
  RuntimeOptions options_;
  pid_t pid_;
  std::shared_ptr<Budget> budget_;
  std::shared_ptr<BufferPool> buffers_;
  AdmissionTable admissions_;
  std::vector<std::unique_ptr<EventLoop>> loops_;
  std::unique_ptr<ThreadPool> workers_;
  std::mutex decoders_mutex_;
  std::unique_ptr<ThreadPool> decoders_;
  std::mutex disk_mutex_;
  std::map<std::string, std::shared_ptr<DiskCache>> disk_caches_;  // until the end: they are scanned once
  std::unique_ptr<ThreadPool> disk_threads_;
};

}  // namespace headrace
