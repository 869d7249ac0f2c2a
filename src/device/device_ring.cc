// SPDX-License-Identifier: Apache-2.0
#include "device/device_ring.h"

#include <algorithm>
#include <utility>

namespace headrace {

Result<std::shared_ptr<DeviceRing>> DeviceRing::make(CudaCopier& copier, uint32_t slots, uint64_t slot_bytes) {
  HR_ASSERT(slots > 0 && slot_bytes > 0);
  std::shared_ptr<DeviceRing> ring(new DeviceRing(copier, slot_bytes));
  CudaDevice& device = copier.device();
  const CudaDevice::Current current(device);
  HR_TRY(current.status());
  for (uint32_t i = 0; i < slots; ++i) {
    Slot slot;
    HR_TRY(device.driver().check(device.api().mem_alloc(&slot.at, slot_bytes),
                                 "make a ring of " + std::to_string(slots) + " slots of " +
                                     std::to_string(slot_bytes) + " bytes on the GPU"));
    ring->slots_.push_back(std::move(slot));
  }
  return ring;
}

// The last to let go may be a framework's deleter on any thread; mem_free waits for the device: not there.
DeviceRing::~DeviceRing() {
  if (!cuda_usable()) return;
  copier_.finishing().post([&copier = copier_, slots = std::move(slots_)] {
    CudaDevice& device = copier.device();
    const CudaDevice::Current current(device);
    if (!current.status().ok() || device.api().context_synchronize() != cuda::kSuccess) return;
    for (const Slot& slot : slots) {
      for (cuda::Event event : slot.before) device.give_event(event);
      static_cast<void>(device.api().mem_free(slot.at));
    }
  });
}

std::shared_ptr<DeviceBlock> DeviceRing::take(std::string label, std::vector<cuda::Event>& before) {
  std::lock_guard lock(mutex_);
  Slot* best = nullptr;
  for (Slot& slot : slots_) {
    if (!slot.held && (best == nullptr || slot.freed < best->freed)) best = &slot;
  }
  if (best == nullptr) return nullptr;
  best->held = true;
  best->label = std::move(label);
  best->taken = SystemClock::instance().now();
  before.insert(before.end(), best->before.begin(), best->before.end());
  const auto index = static_cast<size_t>(best - slots_.data());
  return std::make_shared<DeviceBlock>(
      best->at, slot_bytes_, [self = shared_from_this(), index](cuda::DevicePtr, std::vector<uintptr_t> streams) {
        if (!cuda_usable()) return;
        CudaCopier& copier = self->copier_;
        copier.issuing().post([self, index, streams = std::move(streams)] { self->retire(index, streams); });
      });
}

// The copies' stream goes behind those who read the slot before it was taken. The copy into it did that already, unless
// it failed first: then they still read what the next copy will write.
bool DeviceRing::wait_for_readers(size_t index) {
  CudaDevice& device = copier_.device();
  std::vector<cuda::Event> before;
  {
    std::lock_guard lock(mutex_);
    before.swap(slots_[index].before);
  }
  bool waits = true;
  for (cuda::Event event : before) {
    waits = device.api().stream_wait_event(copier_.stream(), event, 0) == cuda::kSuccess && waits;
    device.give_event(event);
  }
  return waits;
}

void DeviceRing::retire(size_t index, const std::vector<uintptr_t>& streams) {
  CudaDevice& device = copier_.device();
  const CudaDevice::Current current(device);
  // Else it stays held: nobody can say when it may be written.
  if (!current.status().ok() || !wait_for_readers(index)) return;
  std::vector<cuda::Event> events;
  if (DeviceMemory::record_all(device, streams, events)) {
    free_slot(index, std::move(events));
    return;
  }
  copier_.finishing().post([self = shared_from_this(), index, events = std::move(events)] {
    CudaDevice& there = self->copier_.device();
    const CudaDevice::Current here(there);
    for (cuda::Event event : events) there.give_event(event);
    if (!here.status().ok() || there.api().context_synchronize() != cuda::kSuccess) return;
    self->free_slot(index, {});
  });
}

void DeviceRing::free_slot(size_t index, std::vector<cuda::Event> events) {
  std::lock_guard lock(mutex_);
  Slot& slot = slots_[index];
  slot.held = false;
  slot.freed = ++frees_;
  slot.before = std::move(events);
  changed_.notify_all();
}

bool DeviceRing::wait_free(Nanos wait) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, wait, [this] {
    return std::ranges::any_of(slots_, [](const Slot& slot) { return !slot.held; });
  });
}

std::vector<DeviceRing::Holder> DeviceRing::holders() const {
  const TimePoint now = SystemClock::instance().now();
  std::lock_guard lock(mutex_);
  std::vector<Holder> out;
  for (const Slot& slot : slots_) {
    if (slot.held) out.push_back({slot.label, now - slot.taken});
  }
  std::ranges::sort(out, std::greater<>(), &Holder::age);
  return out;
}

}  // namespace headrace
