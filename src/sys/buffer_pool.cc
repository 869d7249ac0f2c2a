// SPDX-License-Identifier: Apache-2.0
#include "sys/buffer_pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <map>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace headrace {
namespace {

constexpr uint64_t kSlab = 2ull << 20;
constexpr uint64_t kSmallest = 1024;
constexpr uint64_t kSmallMax = 512ull << 10;
constexpr uint64_t kPage = 4096;
constexpr uint32_t kLargeTag = ~0u;

// Classes: 1024, 1280, 1536, 1792, 2048, 2560, ... 512 KiB.
uint32_t class_of(uint64_t size) {
  if (size <= kSmallest) return 0;
  const int octave = std::bit_width(size - 1) - 1;  // 2^octave < size <= 2^(octave+1), octave >= 10
  const uint64_t quarter = 1ull << (octave - 2);
  const uint64_t step = (size - (1ull << octave) + quarter - 1) / quarter;  // 1..4
  return static_cast<uint32_t>((octave - 10) * 4 + static_cast<int>(step));
}

uint64_t class_size(uint32_t c) {
  if (c == 0) return kSmallest;
  const uint32_t octave = 10 + (c - 1) / 4, step = (c - 1) % 4 + 1;
  return (1ull << octave) + step * (1ull << (octave - 2));
}

uint64_t large_size(uint64_t size) { return (size + kPage - 1) / kPage * kPage; }

std::byte* map_aligned(uint64_t size) {
  // Over-map and trim, so that a slab is found from an address inside it.
  const uint64_t align = size >= kSlab ? kSlab : kPage;
  void* raw = ::mmap(nullptr, size + align, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw == MAP_FAILED) return nullptr;
  const auto start = reinterpret_cast<uintptr_t>(raw);
  const uintptr_t aligned = (start + align - 1) / align * align;
  if (aligned > start) ::munmap(raw, aligned - start);
  const uintptr_t end = aligned + size;
  if (start + size + align > end) ::munmap(reinterpret_cast<void*>(end), start + size + align - end);
  // No MADV_HUGEPAGE: on virtual machines whose host takes freed huge pages back, touching one costs 1 to 2 CPU-s/GB
  // in bad moments, against 0.36 for 4 KiB pages always (bench/README.md); once buffers are reused it gains 0.1.
  return reinterpret_cast<std::byte*>(aligned);
}

}  // namespace

// The slabs and mappings, without any budget: what pools of several budgets share.
class BufferPool::Memory {
 public:
  Memory(std::shared_ptr<const Budget> budget, uint64_t mapped_max)
      : budget_(std::move(budget)), mapped_max_(mapped_max), classes_(class_of(kSmallMax) + 1) {
    for (uint32_t c = 0; c < classes_.size(); ++c) classes_[c].size = class_size(c);
  }
  ~Memory() {
    for (auto& [key, slab] : slabs_) {
      HR_ASSERT(slab->size_class == kNoClass || slab->free.size() == slab->capacity);  // no buffer outlives its pool
      ::munmap(slab->base, kSlab);
    }
    for (auto& [size, at] : kept_large_) ::munmap(at, size);
  }

  // `size` is in the budget already.
  std::byte* take(uint32_t tag, uint64_t size) {
    std::lock_guard lock(mutex_);
    charged_ += size;
    std::byte* at = tag == kLargeTag ? take_large(size) : take_small(tag);
    if (at == nullptr) charged_ -= size;
    return at;
  }
  // `charged`: of its size, what is in the budget still.
  void give(uint32_t tag, std::byte* at, uint64_t size, uint64_t charged) {
    std::lock_guard lock(mutex_);
    charged_ -= charged;
    if (tag == kLargeTag) {
      kept_large_.emplace(size, at);
    } else {
      give_small(at);
    }
  }
  uint64_t mapped() const {
    std::lock_guard lock(mutex_);
    return mapped_;
  }
  void set_mapped_max(uint64_t bytes) {
    std::lock_guard lock(mutex_);
    mapped_max_ = bytes;
  }
  void uncharge(uint64_t bytes) {
    std::lock_guard lock(mutex_);
    charged_ -= bytes;
  }
  void trim() {
    std::lock_guard lock(mutex_);
    drop_kept(0);
  }

 private:
  static constexpr uint32_t kNoClass = ~0u;
  struct Slab {
    std::byte* base = nullptr;
    uint32_t size_class = kNoClass;
    uint32_t capacity = 0;
    std::vector<uint32_t> free;  // indices of free pieces
    bool listed = false;         // in its class's with_room
  };
  struct SizeClass {
    uint64_t size = 0;
    std::vector<Slab*> with_room;
  };

  std::byte* take_small(uint32_t size_class) {
    SizeClass& cls = classes_[size_class];
    while (!cls.with_room.empty() && cls.with_room.back()->free.empty()) {
      cls.with_room.back()->listed = false;
      cls.with_room.pop_back();
    }
    if (cls.with_room.empty() && !add_slab(size_class)) return nullptr;
    Slab* slab = cls.with_room.back();
    const uint32_t piece = slab->free.back();
    slab->free.pop_back();
    return slab->base + piece * cls.size;
  }

  bool add_slab(uint32_t size_class) {
    Slab* slab;
    if (!empty_slabs_.empty()) {
      slab = empty_slabs_.back();
      empty_slabs_.pop_back();
    } else if ((slab = new_slab()) == nullptr) {
      return false;
    }
    SizeClass& cls = classes_[size_class];
    slab->size_class = size_class;
    slab->capacity = static_cast<uint32_t>(kSlab / cls.size);
    slab->free.resize(slab->capacity);
    for (uint32_t i = 0; i < slab->capacity; ++i) slab->free[i] = slab->capacity - 1 - i;
    slab->listed = true;
    cls.with_room.push_back(slab);
    return true;
  }

  Slab* new_slab() {
    drop_kept(kSlab);
    std::byte* base = map_aligned(kSlab);
    if (base == nullptr) return nullptr;
    mapped_ += kSlab;
    auto slab = std::make_unique<Slab>();
    slab->base = base;
    Slab* raw = slab.get();
    slabs_.emplace(reinterpret_cast<uintptr_t>(base) / kSlab, std::move(slab));
    return raw;
  }

  void give_small(std::byte* at) {
    Slab* slab = slabs_.at(reinterpret_cast<uintptr_t>(at) / kSlab).get();
    SizeClass& cls = classes_[slab->size_class];
    slab->free.push_back(static_cast<uint32_t>(static_cast<uint64_t>(at - slab->base) / cls.size));
    if (slab->free.size() == slab->capacity && cls.with_room.size() > 1) {
      // All free and not the class's last: any class may have it.
      if (slab->listed) std::erase(cls.with_room, slab);
      slab->listed = false;
      slab->size_class = kNoClass;
      empty_slabs_.push_back(slab);
    } else if (!slab->listed) {
      slab->listed = true;
      cls.with_room.push_back(slab);
    }
  }

  std::byte* take_large(uint64_t size) {
    auto it = kept_large_.find(size);
    if (it != kept_large_.end()) {
      std::byte* at = it->second;
      kept_large_.erase(it);
      return at;
    }
    drop_kept(size);
    std::byte* at = map_aligned(size);
    if (at != nullptr) mapped_ += size;
    return at;
  }

  // Gives kept memory back to the kernel until `needed` more bytes fit under the limit. A thread that has reserved and
  // not come here yet counts as another claimant for that moment: some memory too much is given back.
  void drop_kept(uint64_t needed) {
    if (kept_large_.empty() && empty_slabs_.empty()) return;
    const uint64_t used = budget_->used();
    const uint64_t others = used > charged_ ? used - charged_ : 0;
    needed += others;
    while (mapped_ + needed > mapped_max_ && !kept_large_.empty()) {
      auto it = std::prev(kept_large_.end());
      ::munmap(it->second, it->first);
      mapped_ -= it->first;
      kept_large_.erase(it);
    }
    while (mapped_ + needed > mapped_max_ && !empty_slabs_.empty()) {
      Slab* slab = empty_slabs_.back();
      empty_slabs_.pop_back();
      ::munmap(slab->base, kSlab);
      mapped_ -= kSlab;
      slabs_.erase(reinterpret_cast<uintptr_t>(slab->base) / kSlab);
    }
  }

  mutable std::mutex mutex_;
  const std::shared_ptr<const Budget> budget_;
  uint64_t mapped_max_;
  uint64_t charged_ = 0;  // of buffers in use
  std::vector<SizeClass> classes_;
  std::unordered_map<uintptr_t, std::unique_ptr<Slab>> slabs_;  // by address / kSlab
  std::vector<Slab*> empty_slabs_;
  std::multimap<uint64_t, std::byte*> kept_large_;  // by size
  uint64_t mapped_ = 0;
};

BufferPool::BufferPool(std::shared_ptr<Budget> budget, uint64_t mapped_bytes_max)
    : budget_(std::move(budget)), memory_(std::make_shared<Memory>(budget_, mapped_bytes_max)) {}

BufferPool::BufferPool(std::shared_ptr<Budget> budget, const BufferPool& shared)
    : budget_(std::move(budget)), memory_(shared.memory_) {}

BufferPool::~BufferPool() = default;

uint64_t BufferPool::charge(uint64_t size) const {
  return size <= kSmallMax ? class_size(class_of(size)) : large_size(size);
}

uint64_t BufferPool::mapped() const { return memory_->mapped(); }

void BufferPool::set_mapped_max(uint64_t bytes) { memory_->set_mapped_max(bytes); }

void BufferPool::trim() { memory_->trim(); }

Buffer BufferPool::take(uint64_t size) {
  const uint64_t cost = charge(size);
  if (!budget_->reserve(cost)) return {};
  const uint32_t tag = size <= kSmallMax ? class_of(size) : kLargeTag;
  std::byte* at = memory_->take(tag, cost);
  if (at == nullptr) {  // the kernel refuses: to the engine the same as a full budget
    budget_->release(cost);
    return {};
  }
  return Buffer(this, MutableBytes(at, size), cost, tag);
}

void BufferPool::give_back(const Buffer& buffer) {
  memory_->give(buffer.tag(), buffer.bytes().data(), buffer.charged(), buffer.in_budget() ? buffer.charged() : 0);
  if (buffer.in_budget()) budget_->release(buffer.charged());
}

bool BufferPool::release_charge(const Buffer& buffer) {
  memory_->uncharge(buffer.charged());
  budget_->release(buffer.charged());
  return true;
}

}  // namespace headrace
