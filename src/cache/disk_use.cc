// SPDX-License-Identifier: Apache-2.0
#include "cache/disk_use.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "base/endian.h"
#include "cache/disk_errors.h"

namespace headrace {
namespace {

constexpr uint64_t kMagic = 0x31455355'53445248;  // "HRDSUSE1", little-endian
constexpr size_t kFileBytes = 24;                 // magic, bytes, files

// Places that are locked; nothing is ever written there. A file offset has 63 bits.
constexpr uint64_t kCounterLock = 1ull << 60;
constexpr uint64_t kRecountLock = kCounterLock + 1;
constexpr uint64_t kClaimLocks = 1ull << 61;    // + 60 bits of a folder's hash
constexpr uint64_t kProcessLocks = 1ull << 62;  // + token

// The counter is held for microseconds. A process that was stopped while it held it must not stop the others: they
// cache nothing for a while. Waits of 0.1 ms, 20 ms in all.
constexpr int kLockTries = 200;
constexpr auto kLockPause = std::chrono::microseconds(100);

uint64_t claim_place(uint64_t folder) { return kClaimLocks + (folder >> 4); }

bool set_lock(int fd, short type, uint64_t place) {
  struct flock lock = {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(place);
  lock.l_len = 1;
  return ::fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

// Would a write lock be refused because of another process?
bool held_by_others(int fd, uint64_t place) {
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(place);
  lock.l_len = 1;
  return ::fcntl(fd, F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
}

}  // namespace

Result<std::unique_ptr<DiskUse>> DiskUse::open(const std::string& path, uint32_t token) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return disk_error("open " + path, errno);
  std::unique_ptr<DiskUse> use(new DiskUse(fd, token));
  if (!set_lock(fd, F_WRLCK, kProcessLocks + token)) return disk_error("lock " + path, errno);
  return use;
}

DiskUse::~DiskUse() { ::close(fd_); }

Status DiskUse::lock_counter() {
  for (int i = 0; i < kLockTries; ++i) {
    if (set_lock(fd_, F_WRLCK, kCounterLock)) return {};
    if (errno != EAGAIN && errno != EACCES && errno != EINTR) return disk_error("lock the disk cache's count", errno);
    std::this_thread::sleep_for(kLockPause);
  }
  return unavailable("lock the disk cache's count: another process held it for 20 ms");
}

void DiskUse::unlock_counter() { set_lock(fd_, F_UNLCK, kCounterLock); }

// What is not ours to read counts as nothing; the recount of whoever opens the folder mends it.
Result<DiskTotals> DiskUse::load() {
  char raw[kFileBytes] = {};
  const ssize_t n = ::pread(fd_, raw, sizeof raw, 0);
  if (n < 0) return disk_error("read the disk cache's count", errno);
  if (n != static_cast<ssize_t>(sizeof raw) || load_le<uint64_t>(raw) != kMagic) return DiskTotals{};
  return DiskTotals{load_le<uint64_t>(raw + 8), load_le<uint64_t>(raw + 16)};
}

Status DiskUse::save(DiskTotals totals) {
  char raw[kFileBytes];
  store_le(raw, kMagic);
  store_le(raw + 8, totals.bytes);
  store_le(raw + 16, totals.files);
  const ssize_t n = ::pwrite(fd_, raw, sizeof raw, 0);
  if (n < 0) return disk_error("write the disk cache's count", errno);
  return n == static_cast<ssize_t>(sizeof raw) ? Status() : disk_error("write the disk cache's count", ENOSPC);
}

Result<bool> DiskUse::reserve(uint64_t bytes, DiskTotals most) {
  if (!hold()) return false;
  Result<bool> fits = take(bytes, most);
  if (!fits.ok() || !*fits) drop();
  return fits;
}

Result<bool> DiskUse::take(uint64_t bytes, DiskTotals most) {
  std::lock_guard lock(mutex_);
  HR_TRY(lock_counter());
  Result<DiskTotals> now = load();
  bool fits = false;
  Status status = now.status();
  if (status.ok()) {
    fits = (most.bytes == 0 || (now->bytes <= most.bytes && bytes <= most.bytes - now->bytes)) &&
           (most.files == 0 || now->files < most.files);
    if (fits) status = save({now->bytes + bytes, now->files + 1});
  }
  unlock_counter();
  if (!status.ok()) return status;
  return fits;
}

Status DiskUse::release(uint64_t bytes) {
  std::lock_guard lock(mutex_);
  HR_TRY(lock_counter());
  Result<DiskTotals> now = load();
  Status status = now.status();
  if (status.ok()) {
    status = save({now->bytes - std::min(now->bytes, bytes), now->files - std::min<uint64_t>(now->files, 1)});
  }
  unlock_counter();
  return status;
}

Result<DiskTotals> DiskUse::totals() {
  std::lock_guard lock(mutex_);
  return load();
}

void DiskUse::claim(uint64_t folder) {
  std::lock_guard lock(mutex_);
  if (claims_.insert(folder).second) set_lock(fd_, F_RDLCK, claim_place(folder));
}

bool DiskUse::claimed_by_others(uint64_t folder) { return held_by_others(fd_, claim_place(folder)); }

bool DiskUse::alive(uint32_t token) { return token == token_ || held_by_others(fd_, kProcessLocks + token); }

bool DiskUse::hold() {
  std::lock_guard lock(hold_mutex_);
  if (recounting_ || (holders_ == 0 && !set_lock(fd_, F_RDLCK, kRecountLock))) return false;
  ++holders_;
  return true;
}

void DiskUse::drop() {
  std::lock_guard lock(hold_mutex_);
  if (--holders_ == 0) set_lock(fd_, F_UNLCK, kRecountLock);
}

bool DiskUse::begin_recount() {
  std::lock_guard lock(hold_mutex_);
  if (recounting_ || holders_ > 0 || !set_lock(fd_, F_WRLCK, kRecountLock)) return false;
  recounting_ = true;
  return true;
}

Status DiskUse::end_recount(std::optional<DiskTotals> counted) {
  Status status;
  if (counted) {
    std::lock_guard lock(mutex_);
    status = lock_counter();
    if (status.ok()) {
      status = save(*counted);
      unlock_counter();
    }
  }
  std::lock_guard lock(hold_mutex_);
  recounting_ = false;
  set_lock(fd_, F_UNLCK, kRecountLock);
  return status;
}

}  // namespace headrace
