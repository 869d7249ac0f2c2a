// SPDX-License-Identifier: Apache-2.0
#include "device/pinned_arena.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <vector>

#include "sys/failpoint.h"
#include "sys/log.h"

namespace headrace {
namespace {

constexpr uint64_t kPage = 4096;
constexpr int kPreferNode = 1;  // MPOL_PREFERRED of linux/mempolicy.h: another node rather than no memory

// Advice: where the kernel does not take it, copies cross the sockets.
void prefer_node(void* at, uint64_t size, int node) {
  if (node < 0 || node >= 64) return;
  const uint64_t mask = uint64_t{1} << node;
  static_cast<void>(::syscall(SYS_mbind, at, size, kPreferNode, &mask, 65, 0));
}

std::byte* map_pages(uint64_t size, int node) {
  void* at = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) return nullptr;
  // A forked child's copy-on-write would move pages away from under the GPU.
  static_cast<void>(::madvise(at, size, MADV_DONTFORK));
  prefer_node(at, size, node);
  return static_cast<std::byte*>(at);
}

}  // namespace

std::shared_ptr<PinnedArena> PinnedArena::make(CudaDevice& device, uint64_t kept_bytes_max) {
  return std::shared_ptr<PinnedArena>(new PinnedArena(device, kept_bytes_max));
}

PinnedArena::~PinnedArena() {
  if (!cuda_usable()) return;  // ending or forked: the process's end takes it
  for (const auto& [at, slot] : slots_) {
    HR_ASSERT(!slot.used);
    drop(at, slot);
  }
}

uint64_t PinnedArena::charge(uint64_t size) {
  return size > UINT64_MAX - kPage ? UINT64_MAX : (size + kPage - 1) / kPage * kPage;
}

bool PinnedArena::pin(std::byte* at, uint64_t size) {
  const CudaDevice::Current current(device_);
  Status status = current.status();
  if (status.ok()) status = HR_FAILPOINT("device.register");
  if (status.ok()) {
    status = device_.driver().check(device_.api().host_register(at, size, cuda::kHostRegisterPortable),
                                    "page-lock " + std::to_string(size) + " bytes");
  }
  if (status.ok()) return true;
  std::lock_guard lock(mutex_);
  if (!std::exchange(refused_, true)) {
    log_line(LogLevel::kWarning, status.message() + ": batches go to the GPU through the driver's own buffer, at about "
                                                    "a fifth of the speed; look at ulimit -l and the virtual machine");
  }
  return false;
}

std::byte* PinnedArena::make_slot(uint64_t size, bool used) {
  std::byte* at = map_pages(size, device_.numa_node());
  if (at == nullptr) return nullptr;
  const bool pinned = pin(at, size);  // faults the pages in; without the lock: other threads have slots to take
  std::lock_guard lock(mutex_);
  slots_[at] = {size, pinned, used};
  mapped_ += size;
  if (pinned) pinned_ += size;
  if (!used) {
    free_.emplace(size, at);
    kept_bytes_ += size;
  }
  return at;
}

std::byte* PinnedArena::take(uint64_t size) {
  HR_ASSERT(size > 0);
  if (!cuda_usable()) return nullptr;
  const uint64_t bytes = charge(size);
  {
    std::lock_guard lock(mutex_);
    if (auto found = free_.find(bytes); found != free_.end()) {
      std::byte* at = found->second;
      free_.erase(found);
      kept_bytes_ -= bytes;
      slots_[at].used = true;
      return at;
    }
    ++made_;
  }
  return make_slot(bytes, true);
}

void PinnedArena::give(std::byte* at, uint64_t size) {
  if (!cuda_usable()) return;  // ending, or a forked child, in which the lock may be held for ever
  const uint64_t bytes = charge(size);
  std::vector<std::pair<std::byte*, Slot>> gone;
  {
    std::lock_guard lock(mutex_);
    slots_[at].used = false;
    free_.emplace(bytes, at);
    kept_bytes_ += bytes;
    // Of other sizes first: this one was just in use.
    while (kept_bytes_ > kept_bytes_max_ && !free_.empty()) {
      auto victim = free_.begin()->first == bytes ? std::prev(free_.end()) : free_.begin();
      gone.emplace_back(victim->second, slots_[victim->second]);
      slots_.erase(victim->second);
      kept_bytes_ -= victim->first;
      free_.erase(victim);
    }
  }
  for (const auto& [where, slot] : gone) drop(where, slot);
}

void PinnedArena::drop(std::byte* at, const Slot& slot) {
  if (slot.pinned) {
    const CudaDevice::Current current(device_);
    // Memory that is still locked must not go: the GPU might write through it into whatever comes there next.
    if (!current.status().ok() || device_.api().host_unregister(at) != cuda::kSuccess) return;
    pinned_ -= slot.size;
  }
  mapped_ -= slot.size;
  ::munmap(at, slot.size);
}

void PinnedArena::prepare(Executor& background, uint32_t count, uint64_t size) {
  for (uint32_t i = 0; i < count; ++i) {
    background.post([weak = weak_from_this(), bytes = charge(size), count] {
      auto self = weak.lock();
      if (!self) return;
      {
        std::lock_guard lock(self->mutex_);
        if (self->made_ >= count || self->kept_bytes_ + bytes > self->kept_bytes_max_) return;
        ++self->made_;
      }
      self->make_slot(bytes, false);
    });
  }
}

bool PinnedArena::is_pinned(const void* at) const {
  std::lock_guard lock(mutex_);
  auto found = slots_.upper_bound(static_cast<std::byte*>(const_cast<void*>(at)));
  if (found == slots_.begin()) return false;
  --found;
  return found->second.pinned && static_cast<const std::byte*>(at) < found->first + found->second.size;
}

Buffer PinnedPool::take(uint64_t size) {
  const uint64_t cost = charge(size);
  if (!budget_->reserve(cost)) return {};
  std::byte* at = arena_->take(size);
  if (at == nullptr) {
    budget_->release(cost);
    return {};
  }
  return Buffer(this, MutableBytes(at, size), cost, 0);
}

void PinnedPool::give_back(const Buffer& buffer) {
  if (!cuda_usable()) return;
  arena_->give(buffer.bytes().data(), buffer.bytes().size());
  if (buffer.in_budget()) budget_->release(buffer.charged());
}

bool PinnedPool::release_charge(const Buffer& buffer) {
  budget_->release(buffer.charged());
  return true;
}

}  // namespace headrace
