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
constexpr size_t kNumbers = 6;                    // bytes and files: there, taken ever, given back ever
constexpr size_t kFileBytes = 8 + 8 * kNumbers;

// Places that are locked; nothing is ever written there. A file offset has 63 bits.
constexpr uint64_t kCounterLock = 1ull << 60;
constexpr uint64_t kOnWayLock = kCounterLock + 1;
constexpr uint64_t kClaimLocks = 1ull << 61;    // + 60 bits of a folder's hash
constexpr uint64_t kProcessLocks = 1ull << 62;  // + token

// The counter is held for microseconds, and while a file is unlinked. A process that was stopped while it held it must
// not stop the others: they cache nothing for a while. Waits of 0.1 ms, 100 ms in all: on a machine with too much to do
// 20 were not enough.
constexpr int kLockTries = 1000;
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
  return unavailable("lock the disk cache's count: another process held it for 100 ms");
}

void DiskUse::unlock_counter() { set_lock(fd_, F_UNLCK, kCounterLock); }

// What is not ours to read counts as nothing; the recount of whoever opens the folder mends it.
Result<DiskUse::Count> DiskUse::load() {
  char raw[kFileBytes] = {};
  const ssize_t n = ::pread(fd_, raw, sizeof raw, 0);
  if (n < 0) return disk_error("read the disk cache's count", errno);
  if (n != static_cast<ssize_t>(sizeof raw) || load_le<uint64_t>(raw) != kMagic) return Count{};
  const auto totals = [&raw](size_t at) {
    return DiskTotals{load_le<uint64_t>(raw + at), load_le<uint64_t>(raw + at + 8)};
  };
  return Count{totals(8), totals(24), totals(40)};
}

Status DiskUse::save(const Count& count) {
  char raw[kFileBytes];
  store_le(raw, kMagic);
  size_t at = 8;
  for (const DiskTotals& totals : {count.now, count.taken, count.given}) {
    store_le(raw + at, totals.bytes);
    store_le(raw + at + 8, totals.files);
    at += 16;
  }
  const ssize_t n = ::pwrite(fd_, raw, sizeof raw, 0);
  if (n < 0) return disk_error("write the disk cache's count", errno);
  return n == static_cast<ssize_t>(sizeof raw) ? Status() : disk_error("write the disk cache's count", ENOSPC);
}

Result<bool> DiskUse::update(const std::function<Result<bool>(Count&)>& change) {
  std::lock_guard lock(mutex_);
  HR_TRY(lock_counter());
  Result<Count> count = load();
  Result<bool> changed = count.ok() ? change(*count) : Result<bool>(count.status());
  if (changed.ok() && *changed) {
    if (Status saved = save(*count); !saved.ok()) changed = std::move(saved);
  }
  unlock_counter();
  return changed;
}

Result<bool> DiskUse::reserve(uint64_t bytes, DiskTotals most) {
  bool held = false;
  Result<bool> fits = update([&](Count& count) -> Result<bool> {
    const DiskTotals now = count.now;
    const bool room = (most.bytes == 0 || (now.bytes <= most.bytes && bytes <= most.bytes - now.bytes)) &&
                      (most.files == 0 || now.files < most.files);
    if (!room) return false;
    hold();
    held = true;
    count.now = {now.bytes + bytes, now.files + 1};
    count.taken = {count.taken.bytes + bytes, count.taken.files + 1};
    return true;
  });
  if (held && !fits.ok()) settle();
  return fits;
}

void DiskUse::settle() {
  std::lock_guard lock(mutex_);
  drop();
}

Status DiskUse::unreserve(uint64_t bytes) {
  Status status = remove([bytes] { return std::optional(bytes); }).status();
  settle();
  return status;
}

Result<bool> DiskUse::remove(const std::function<Result<std::optional<uint64_t>>()>& unlink) {
  return update([&](Count& count) -> Result<bool> {
    HR_TRY_ASSIGN(const std::optional<uint64_t> bytes, unlink());
    if (!bytes) return false;
    count.now.bytes -= std::min(count.now.bytes, *bytes);
    count.now.files -= std::min<uint64_t>(count.now.files, 1);
    count.given = {count.given.bytes + *bytes, count.given.files + 1};
    return true;
  });
}

Result<DiskTotals> DiskUse::totals() {
  std::lock_guard lock(mutex_);
  HR_TRY_ASSIGN(const Count count, load());
  return count.now;
}

void DiskUse::claim(uint64_t folder) {
  std::lock_guard lock(mutex_);
  if (claims_.insert(folder).second) set_lock(fd_, F_RDLCK, claim_place(folder));
}

bool DiskUse::claimed_by_others(uint64_t folder) { return held_by_others(fd_, claim_place(folder)); }

bool DiskUse::alive(uint32_t token) { return token == token_ || held_by_others(fd_, kProcessLocks + token); }

// Both under mutex_. The lock is shared, and nobody takes it alone: it cannot be refused but by a disk that has none.
void DiskUse::hold() {
  if (on_way_++ == 0) set_lock(fd_, F_RDLCK, kOnWayLock);
}

void DiskUse::drop() {
  if (--on_way_ == 0) set_lock(fd_, F_UNLCK, kOnWayLock);
}

// What is on its way would be there at the end, and was not taken since.
Result<std::optional<DiskUse::Count>> DiskUse::begin_recount() {
  std::optional<Count> from;
  const Result<bool> looked = update([&](Count& count) -> Result<bool> {
    if (on_way_ == 0 && !held_by_others(fd_, kOnWayLock)) from = count;
    return false;
  });
  if (!looked.ok()) return looked.status();
  return from;
}

// Of what is there now, `seen` lacks at most what was taken since, and has too much at most what was given back since.
Status DiskUse::end_recount(const Count& from, DiskTotals seen) {
  const auto nearest = [](uint64_t now, uint64_t counted, uint64_t taken, uint64_t given) {
    return std::clamp(now, counted - std::min(counted, given), counted + taken);
  };
  const Result<bool> done = update([&](Count& count) -> Result<bool> {
    count.now = {nearest(count.now.bytes, seen.bytes, count.taken.bytes - from.taken.bytes,
                         count.given.bytes - from.given.bytes),
                 nearest(count.now.files, seen.files, count.taken.files - from.taken.files,
                         count.given.files - from.given.files)};
    return true;
  });
  return done.status();
}

}  // namespace headrace
