// SPDX-License-Identifier: Apache-2.0
#include "sys/buffer_pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>

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
  // Over-map and trim, so that 2 MiB pieces start on a huge-page border.
  const uint64_t align = size >= kSlab ? kSlab : kPage;
  void* raw = ::mmap(nullptr, size + align, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw == MAP_FAILED) return nullptr;
  const auto start = reinterpret_cast<uintptr_t>(raw);
  const uintptr_t aligned = (start + align - 1) / align * align;
  if (aligned > start) ::munmap(raw, aligned - start);
  const uintptr_t end = aligned + size;
  if (start + size + align > end) ::munmap(reinterpret_cast<void*>(end), start + size + align - end);
  if (size >= kSlab) ::madvise(reinterpret_cast<void*>(aligned), size, MADV_HUGEPAGE);
  return reinterpret_cast<std::byte*>(aligned);
}

}  // namespace

struct BufferPool::Slab {
  std::byte* base = nullptr;
  uint32_t size_class = 0;
  uint32_t capacity = 0;
  std::vector<uint32_t> free;  // indices of free pieces
  bool listed = false;         // in its class's with_room
};

BufferPool::BufferPool(std::shared_ptr<Budget> budget, uint64_t mapped_bytes_max)
    : budget_(std::move(budget)), mapped_max_(mapped_bytes_max), classes_(class_of(kSmallMax) + 1) {
  for (uint32_t c = 0; c < classes_.size(); ++c) classes_[c].size = class_size(c);
}

BufferPool::~BufferPool() {
  for (auto& [key, slab] : slabs_) {
    HR_ASSERT(slab->size_class == ~0u || slab->free.size() == slab->capacity);  // no buffer outlives its pool
    ::munmap(slab->base, kSlab);
  }
  for (auto& [size, at] : kept_large_) ::munmap(at, size);
}

uint64_t BufferPool::charge(uint64_t size) const {
  return size <= kSmallMax ? class_size(class_of(size)) : large_size(size);
}

uint64_t BufferPool::mapped() const {
  std::lock_guard lock(mutex_);
  return mapped_;
}

Buffer BufferPool::take(uint64_t size) {
  const uint64_t cost = charge(size);
  if (!budget_->reserve(cost)) return {};
  std::byte* at;
  uint32_t tag = kLargeTag;
  {
    std::lock_guard lock(mutex_);
    if (size <= kSmallMax) {
      tag = class_of(size);
      at = take_small_locked(tag);
    } else {
      at = take_large_locked(cost);
    }
  }
  if (at == nullptr) {  // the kernel refuses: to the engine the same as a full budget
    budget_->release(cost);
    return {};
  }
  return Buffer(this, MutableBytes(at, size), cost, tag);
}

std::byte* BufferPool::take_small_locked(uint32_t size_class) {
  SizeClass& cls = classes_[size_class];
  while (!cls.with_room.empty() && cls.with_room.back()->free.empty()) {
    cls.with_room.back()->listed = false;
    cls.with_room.pop_back();
  }
  if (cls.with_room.empty()) {
    Slab* slab = nullptr;
    if (!empty_slabs_.empty()) {
      slab = empty_slabs_.back();
      empty_slabs_.pop_back();
    } else if ((slab = new_slab_locked()) == nullptr) {
      return nullptr;
    }
    slab->size_class = size_class;
    slab->capacity = static_cast<uint32_t>(kSlab / cls.size);
    slab->free.resize(slab->capacity);
    for (uint32_t i = 0; i < slab->capacity; ++i) slab->free[i] = slab->capacity - 1 - i;
    slab->listed = true;
    cls.with_room.push_back(slab);
  }
  Slab* slab = cls.with_room.back();
  const uint32_t piece = slab->free.back();
  slab->free.pop_back();
  return slab->base + piece * cls.size;
}

BufferPool::Slab* BufferPool::new_slab_locked() {
  drop_kept_locked(kSlab);
  std::byte* base = map_aligned(kSlab);
  if (base == nullptr) return nullptr;
  mapped_ += kSlab;
  auto slab = std::make_unique<Slab>();
  slab->base = base;
  Slab* raw = slab.get();
  slabs_.emplace(reinterpret_cast<uintptr_t>(base) / kSlab, std::move(slab));
  return raw;
}

std::byte* BufferPool::take_large_locked(uint64_t size) {
  // A kept mapping serves when at most a quarter of it would be idle; only the pages of `size` are charged.
  auto it = kept_large_.find(size);
  if (it != kept_large_.end()) {
    std::byte* at = it->second;
    kept_large_.erase(it);
    return at;
  }
  drop_kept_locked(size);
  std::byte* at = map_aligned(size);
  if (at != nullptr) mapped_ += size;
  return at;
}

void BufferPool::drop_kept_locked(uint64_t needed) {
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

void BufferPool::give_back(const Buffer& buffer) {
  {
    std::lock_guard lock(mutex_);
    std::byte* at = buffer.bytes().data();
    if (buffer.tag() == kLargeTag) {
      kept_large_.emplace(buffer.charged(), at);
    } else {
      Slab* slab = slabs_.at(reinterpret_cast<uintptr_t>(at) / kSlab).get();
      SizeClass& cls = classes_[slab->size_class];
      slab->free.push_back(static_cast<uint32_t>((at - slab->base) / cls.size));
      if (slab->free.size() == slab->capacity && cls.with_room.size() > 1) {
        // All free and not the class's last: any class may have it.
        if (slab->listed) std::erase(cls.with_room, slab);
        slab->listed = false;
        slab->size_class = ~0u;
        empty_slabs_.push_back(slab);
      } else if (!slab->listed) {
        slab->listed = true;
        cls.with_room.push_back(slab);
      }
    }
  }
  budget_->release(buffer.charged());
}

}  // namespace headrace
