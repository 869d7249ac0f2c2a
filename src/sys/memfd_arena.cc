// SPDX-License-Identifier: Apache-2.0
#include "sys/memfd_arena.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace headrace {
namespace {

constexpr uint64_t kPage = 4096;
// Less address space than this is not worth trying: a batch or two.
constexpr uint64_t kSizeMin = 64ull << 20;

Status refused(const char* action) {
  return unsupported(std::string("make shared memory for worker processes: ") + action + ": " + std::strerror(errno) +
                     "; use workers=0");
}

// A file above RLIMIT_FSIZE would end the process with a signal.
uint64_t file_bytes_max(uint64_t bytes) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return bytes;
  return std::min<uint64_t>(bytes, limit.rlim_cur);
}

}  // namespace

Result<std::shared_ptr<MemfdArena>> MemfdArena::make(uint64_t bytes_max, uint64_t kept_bytes_max) {
  const int fd = ::memfd_create("headrace-slots", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return refused("memfd_create");
  const uint64_t first = std::max(file_bytes_max(bytes_max), kPage) / kPage * kPage;
  for (uint64_t size = first;; size = size / 2 / kPage * kPage) {
    void* at = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (at == MAP_FAILED && size / 2 >= kSizeMin) continue;
    // Sealed: a process that shrinks it would end the others with SIGBUS.
    const bool made = at != MAP_FAILED && ::ftruncate(fd, static_cast<off_t>(size)) == 0 &&
                      ::fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0;
    if (!made) {
      const Status status = refused(at == MAP_FAILED ? "mmap" : "ftruncate");
      if (at != MAP_FAILED) ::munmap(at, size);
      ::close(fd);
      return status;
    }
    // A core dump that walked over all of it would take minutes. Advice only.
    static_cast<void>(::madvise(at, size, MADV_DONTDUMP));
    return std::shared_ptr<MemfdArena>(new MemfdArena(fd, static_cast<std::byte*>(at), size, kept_bytes_max));
  }
}

MemfdArena::MemfdArena(int descriptor, std::byte* data, uint64_t size, uint64_t kept_bytes_max)
    : pid_(::getpid()), descriptor_(descriptor), data_(data), size_(size), kept_bytes_max_(kept_bytes_max) {
  free_.emplace(0, size);
}

MemfdArena::~MemfdArena() {
  ::munmap(data_, size_);
  ::close(descriptor_);
}

uint64_t MemfdArena::charge(uint64_t size) {
  return size > UINT64_MAX - kPage ? UINT64_MAX : (size + kPage - 1) / kPage * kPage;
}

uint64_t MemfdArena::kept() const {
  std::lock_guard lock(mutex_);
  return kept_bytes_;
}

std::byte* MemfdArena::take(uint64_t size) {
  HR_ASSERT(size > 0);
  if (::getpid() != pid_) return nullptr;
  const uint64_t bytes = charge(size);
  std::lock_guard lock(mutex_);
  if (auto found = kept_by_size_.find(bytes); found != kept_by_size_.end()) {
    const uint64_t offset = found->second->offset;
    kept_.erase(found->second);
    kept_by_size_.erase(found);
    kept_bytes_ -= bytes;
    return data_ + offset;
  }
  const auto fits = [bytes](const auto& extent) { return extent.second >= bytes; };
  auto extent = std::ranges::find_if(free_, fits);
  while (extent == free_.end() && !kept_.empty()) {
    drop(kept_.begin());
    extent = std::ranges::find_if(free_, fits);
  }
  if (extent == free_.end()) return nullptr;
  const auto [offset, room] = *extent;
  free_.erase(extent);
  if (room > bytes) free_.emplace(offset + bytes, room - bytes);
  return data_ + offset;
}

void MemfdArena::give(std::byte* at, uint64_t size) {
  if (::getpid() != pid_) return;  // the parent goes on with it
  const uint64_t bytes = charge(size);
  std::lock_guard lock(mutex_);
  kept_.push_back({static_cast<uint64_t>(at - data_), bytes});
  kept_by_size_.emplace(bytes, std::prev(kept_.end()));
  kept_bytes_ += bytes;
  while (kept_bytes_ > kept_bytes_max_) drop(kept_.begin());
}

void MemfdArena::drop(KeptList::iterator kept) {
  const Kept gone = *kept;
  auto [at, end] = kept_by_size_.equal_range(gone.size);
  while (at != end && at->second != kept) ++at;
  HR_ASSERT(at != end);
  kept_by_size_.erase(at);
  kept_.erase(kept);
  kept_bytes_ -= gone.size;
  // Where the kernel cannot, the pages stay and are used again later.
  static_cast<void>(::fallocate(descriptor_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                static_cast<off_t>(gone.offset), static_cast<off_t>(gone.size)));
  add_free(gone.offset, gone.size);
}

void MemfdArena::add_free(uint64_t offset, uint64_t size) {
  auto after = free_.lower_bound(offset);
  if (after != free_.end() && offset + size == after->first) {
    size += after->second;
    after = free_.erase(after);
  }
  if (after != free_.begin()) {
    auto before = std::prev(after);
    if (before->first + before->second == offset) {
      before->second += size;
      return;
    }
  }
  free_.emplace(offset, size);
}

Buffer MemfdPool::take(uint64_t size) {
  const uint64_t cost = charge(size);
  if (budget_ && !budget_->reserve(cost)) return {};
  std::byte* at = arena_->take(size);
  if (at == nullptr) {  // to the engine the same as a full budget
    if (budget_) budget_->release(cost);
    return {};
  }
  return Buffer(this, MutableBytes(at, size), cost, 0);
}

void MemfdPool::give_back(const Buffer& buffer) {
  arena_->give(buffer.bytes().data(), buffer.bytes().size());
  if (budget_ && buffer.in_budget()) budget_->release(buffer.charged());
}

bool MemfdPool::release_charge(const Buffer& buffer) {
  if (budget_) budget_->release(buffer.charged());
  return true;
}

}  // namespace headrace
