// SPDX-License-Identifier: Apache-2.0
#include "device/device_memory.h"

#include <algorithm>
#include <map>
#include <utility>

#include "sys/failpoint.h"

namespace headrace {

void DeviceBlock::used_on(uintptr_t stream) {
  std::lock_guard lock(mutex_);
  if (std::ranges::find(streams_, stream) == streams_.end()) streams_.push_back(stream);
}

Result<DeviceMemory*> DeviceMemory::of(CudaCopier& copier) {
  static std::mutex mutex;
  static auto* memories = new std::map<CudaCopier*, DeviceMemory*>;  // leaked, with the copiers
  std::lock_guard lock(mutex);
  DeviceMemory*& memory = (*memories)[&copier];
  if (memory == nullptr) {
    std::unique_ptr<DeviceMemory> made(new DeviceMemory(copier));
    if (const Status status = made->start(); !status.ok()) {
      made->drop_stream();
      return status;
    }
    memory = made.release();
  }
  return memory;
}

Status DeviceMemory::start() {
  CudaDevice& device = copier_.device();
  const CudaDevice::Current current(device);
  HR_TRY(current.status());
  const auto& api = device.api();
  if (!device.has_pools()) return {};
  int least = 0, greatest = 0;
  HR_TRY(device.driver().check(api.stream_priority_range(&least, &greatest), "make a memory pool"));
  HR_TRY(device.driver().check(api.stream_create(&freeing_, cuda::kStreamNonBlocking, least), "make a memory pool"));
  // One of our own: torch's and others' settings of the default pool are theirs.
  cuda::PoolProperties properties;
  properties.location = {cuda::kLocationDevice, device.ordinal()};
  HR_TRY(device.driver().check(api.pool_create(&pool_, &properties), "make a memory pool"));
  // By default every synchronisation gives free memory back to the device, and the next batch asks for it again.
  uint64_t keep = UINT64_MAX;
  return device.driver().check(api.pool_set_attribute(pool_, cuda::kPoolReleaseThreshold, &keep), "make a memory pool");
}

// Of a start that failed: it may be tried again.
void DeviceMemory::drop_stream() {
  const CudaDevice::Current current(copier_.device());
  if (freeing_ == nullptr || !current.status().ok()) return;
  static_cast<void>(copier_.device().api().stream_destroy(freeing_));
}

Status DeviceMemory::allocate(uint64_t bytes, cuda::DevicePtr& at) {
  const auto& api = copier_.device().api();
  const std::string what = "take " + std::to_string(bytes) + " bytes of the GPU's memory";
  const auto& driver = copier_.device().driver();
  if (pool_ != nullptr) return driver.check(api.pool_alloc(&at, bytes, pool_, copier_.stream()), what);
  return driver.check(api.mem_alloc(&at, bytes), what);
}

Result<std::shared_ptr<DeviceBlock>> DeviceMemory::take(uint64_t bytes) {
  HR_ASSERT(bytes > 0);
  const CudaDevice::Current current(copier_.device());
  HR_TRY(current.status());
  cuda::DevicePtr at = 0;
  HR_TRY(allocate(bytes, at));
  return std::make_shared<DeviceBlock>(at, bytes, [this](cuda::DevicePtr where, std::vector<uintptr_t> streams) {
    if (!cuda_usable()) return;  // the process's end takes it
    copier_.issuing().post([this, where, streams = std::move(streams)] { retire(where, streams); });
  });
}

bool DeviceMemory::record_all(CudaDevice& device, const std::vector<uintptr_t>& streams,
                              std::vector<cuda::Event>& events) {
  if (!HR_FAILPOINT("device.free_guard").ok()) return true;
  bool all = true;
  for (const uintptr_t stream : streams) {
    auto event = device.take_event();
    // The per-thread stream that was meant is another thread's.
    const bool recorded = event.ok() && stream != cuda::kStreamPerThread &&
                          device.api().event_record(*event, stream_of(stream)) == cuda::kSuccess;
    if (recorded) {
      events.push_back(*event);
    } else {
      all = false;
      if (event.ok()) device.give_event(*event);
    }
  }
  return all;
}

// On the copier's thread, behind the issue of the copy that fills the block.
void DeviceMemory::retire(cuda::DevicePtr at, const std::vector<uintptr_t>& streams) {
  CudaDevice& device = copier_.device();
  const CudaDevice::Current current(device);
  if (!current.status().ok()) return;
  std::vector<cuda::Event> events;
  std::vector<uintptr_t> all = streams;
  all.push_back(reinterpret_cast<uintptr_t>(copier_.stream()));  // a batch that nobody took may still be being filled
  const bool known = record_all(device, all, events);
  if (known && pool_ != nullptr) {
    free_behind(at, std::move(events));
    return;
  }
  copier_.finishing().post([this, at, known, events = std::move(events)] {
    CudaDevice& there = copier_.device();
    const CudaDevice::Current here(there);
    if (!here.status().ok()) return;
    bool over = true;
    for (cuda::Event event : events) {
      over = there.api().event_synchronize(event) == cuda::kSuccess && over;
      there.give_event(event);
    }
    if (!known || !over) over = there.api().context_synchronize() == cuda::kSuccess;
    if (!over) return;  // a broken context: what may still be read stays
    static_cast<void>(pool_ ? there.api().free_async(at, freeing_) : there.api().mem_free(at));
  });
}

// Not on the copies' stream: those need not wait for the consumer because some block was dropped late.
void DeviceMemory::free_behind(cuda::DevicePtr at, std::vector<cuda::Event> events) {
  CudaDevice& device = copier_.device();
  bool waits = true;
  for (cuda::Event event : events) {
    waits = device.api().stream_wait_event(freeing_, event, 0) == cuda::kSuccess && waits;
    device.give_event(event);
  }
  if (waits) static_cast<void>(device.api().free_async(at, freeing_));
}

}  // namespace headrace
