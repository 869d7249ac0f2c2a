// SPDX-License-Identifier: Apache-2.0
//
// The disk cache in the stack of an opened store. Taken down before what it stands on, off the threads it waits for.
#include <unistd.h>

#include <thread>

#include "loader/open_store.h"
#include "sys/log.h"

namespace headrace {
namespace {

struct DiskStack {
  std::shared_ptr<Runtime> runtime;
  std::shared_ptr<ObjectStore> inner;
  std::shared_ptr<DiskStore> store;
};

// Closing waits for the event loop and the disk's threads: the last reference may go on one of them.
void retire(DiskStack* stack) {
  const auto end = [stack] {
    stack->store.reset();
    delete stack;
  };
  if (stack->runtime->pid() == ::getpid() && stack->runtime->on_own_thread()) {
    std::thread(end).detach();
  } else {
    end();
  }
}

}  // namespace

Result<OpenedStore> with_disk_cache(OpenedStore opened, const StoreOptions& options, std::shared_ptr<Runtime> runtime,
                                    bool planned) {
  if (options.cache_dir.empty()) return opened;
  Result<std::shared_ptr<DiskCache>> cache = runtime->disk_cache(options.cache_dir, options.cache_bytes);
  if (!cache.ok()) {
    const Code code = cache.status().code();
    if (code == Code::kInvalidArgument || code == Code::kPermission) return cache.status();
    log_line(LogLevel::kWarning, cache.status().message() + "; nothing is kept on disk");
    return opened;
  }
  DiskStoreOptions disk;
  disk.place = opened.place;
  disk.planned = planned;
  std::shared_ptr<DiskStack> stack(new DiskStack{runtime, opened.store, nullptr}, retire);
  stack->store = std::make_shared<DiskStore>(opened.store, *cache, runtime->disk_threads(), runtime->buffers(),
                                             runtime->budget(), std::move(disk));
  opened.disk = {stack, stack->store.get()};
  opened.store = opened.disk;
  return opened;
}

}  // namespace headrace
