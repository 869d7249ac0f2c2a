// SPDX-License-Identifier: Apache-2.0
#include "cache/disk_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <ctime>

#include "cache/disk_errors.h"
#include "sys/failpoint.h"
#include "sys/random.h"

namespace headrace {
namespace {

constexpr const char* kFolder = "/headrace-cache-v1";
// A block that is read says so by its file's time, so that other processes and later ones know: not oftener.
constexpr int64_t kStampEverySeconds = 600;

DiskFiles::FileId id_of(const struct stat& info) { return {info.st_ino, info.st_ctim.tv_sec, info.st_ctim.tv_nsec}; }

struct Fd {
  int fd;
  ~Fd() {
    if (fd >= 0) ::close(fd);
  }
};

std::string hex(uint64_t number, int digits) {
  char text[20];
  std::snprintf(text, sizeof text, "%0*" PRIx64, digits, number);
  return text;
}

Status make_own_folder(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return disk_error("make the cache folder " + path, errno);
  struct stat info;
  if (::lstat(path.c_str(), &info) != 0) return disk_error("look at the cache folder " + path, errno);
  if (!S_ISDIR(info.st_mode) || info.st_uid != ::geteuid() || (info.st_mode & 0077) != 0) {
    return permission_denied("open the cache folder " + path +
                             ": it must be a folder of this user's that nobody else can enter (mode 0700); "
                             "name another cache_dir= or remove it");
  }
  return {};
}

// Missing folders above the cache are made as well: the user's to enter, as any.
void make_parents(const std::string& dir) {
  for (size_t at = dir.find('/', 1); at != std::string::npos; at = dir.find('/', at + 1)) {
    ::mkdir(dir.substr(0, at).c_str(), 0755);
  }
  ::mkdir(dir.c_str(), 0755);
}

// All of `bytes` at `offset`; false with errno, or with errno 0 where the file ends before.
bool read_at(int fd, MutableBytes bytes, uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t n = ::pread(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      if (n == 0) errno = 0;
      return false;
    }
    bytes = bytes.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return true;
}

Status read_failure(const std::string& path) {
  return errno == 0 ? corrupt("read " + path + ": it ends before the block does") : disk_error("read " + path, errno);
}

Status read_cells(int fd, const std::string& path, const DiskObject& object, uint64_t block, ByteRange cells,
                  MutableBytes into) {
  alignas(64) std::byte header[kDiskHeaderBytes];
  HR_TRY(HR_FAILPOINT("disk.read"));
  if (!read_at(fd, header, 0)) return read_failure(path);
  HR_TRY(check_block_header(header, object, block).with_context("read " + path));
  if (!read_at(fd, into.first(cells.size()), kDiskHeaderBytes + cells.begin)) return read_failure(path);
  return check_block_cells(header, static_cast<uint32_t>(cells.begin / kDiskCellBytes), into.first(cells.size()))
      .with_context("read " + path);
}

}  // namespace

Result<std::unique_ptr<DiskFiles>> DiskFiles::open(const std::string& dir, DiskLimits limits) {
  if (!dir.starts_with('/')) return invalid_argument("open the cache folder '" + dir + "': not an absolute path");
  make_parents(dir);
  std::string root = dir + kFolder;
  for (const char* part : {"", "/blocks", "/temp"}) HR_TRY(make_own_folder(root + part));
  for (int i = 0; i < 16; ++i) {
    const auto token = static_cast<uint32_t>(entropy_seed());
    auto use = DiskUse::open(root + "/use", token);
    if (use.ok()) return std::unique_ptr<DiskFiles>(new DiskFiles(std::move(root), limits, token, *std::move(use)));
    if (i == 15) return use.status();
  }
  return internal_error("open the cache folder " + dir);
}

std::string DiskFiles::folder_path(uint64_t folder) const { return root_ + "/blocks/" + hex(folder, 16); }

std::string DiskFiles::path_of(const BlockPlace& place) const {
  return folder_path(place.folder) + "/" + place.object.hex() + "-" + hex(place.block, 8);
}

DiskFiles::Read DiskFiles::read(const DiskObject& object, const BlockPlace& place, ByteRange range, MutableBytes into) {
  Read out;
  const ByteRange block = object.block_range(place.block);
  HR_ASSERT(block.contains(range) && into.size() >= kDiskBlockBytes);
  const std::string path = path_of(place);
  // Not waiting: a pipe of that name would have us wait for its writer.
  const Fd file{::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW)};
  struct stat info = {};
  if (file.fd < 0 || ::fstat(file.fd, &info) != 0) {
    out.status = disk_error("open " + path, errno);
    return out;
  }
  out.file = id_of(info);
  out.file_bytes = static_cast<uint64_t>(info.st_size);
  const uint64_t begin = (range.begin - block.begin) / kDiskCellBytes * kDiskCellBytes;
  const uint64_t end = (range.end - block.begin + kDiskCellBytes - 1) / kDiskCellBytes * kDiskCellBytes;
  out.at = static_cast<size_t>(range.begin - block.begin - begin);
  out.status = !S_ISREG(info.st_mode) ? corrupt("read " + path + ": not a regular file")
                                      : read_cells(file.fd, path, object, place.block,
                                                   {begin, std::min(end, block.size())}, into);
  if (out.status.ok() && info.st_mtim.tv_sec + kStampEverySeconds < ::time(nullptr)) ::futimens(file.fd, nullptr);
  return out;
}

Result<DiskFiles::Room> DiskFiles::reserve(uint64_t file_bytes) {
  // Counted first: of two that look at once, neither overlooks the other.
  const uint64_t bytes = coming_bytes_.fetch_add(file_bytes), files = coming_files_.fetch_add(1);
  Result<Room> room = room_for(file_bytes, bytes, files);
  if (!room.ok() || *room != Room::kYes) not_coming(file_bytes);
  return room;
}

void DiskFiles::not_coming(uint64_t file_bytes) {
  coming_bytes_ -= file_bytes;
  coming_files_ -= 1;
}

Result<DiskFiles::Room> DiskFiles::room_for(uint64_t file_bytes, uint64_t coming_bytes, uint64_t coming_files) {
  struct statvfs disk;
  HR_TRY(HR_FAILPOINT("disk.reserve"));
  if (::statvfs(root_.c_str(), &disk) != 0) return disk_error("look at the disk of " + root_, errno);
  const auto left_after = [&](uint64_t all, uint64_t free, uint64_t taken) {
    return static_cast<double>(free) - static_cast<double>(taken) >= limits_.free_share * static_cast<double>(all);
  };
  const uint64_t unit = disk.f_frsize;
  if (!left_after(disk.f_blocks * unit, disk.f_bavail * unit, coming_bytes + file_bytes)) return Room::kLow;
  // Some file systems make inodes as needed and count none.
  if (disk.f_files > 0 && !left_after(disk.f_files, disk.f_favail, coming_files + 1)) return Room::kLow;
  HR_TRY_ASSIGN(const bool fits, use_->reserve(file_bytes, {limits_.bytes_max, limits_.files_max}));
  return fits ? Room::kYes : Room::kFull;
}

Status DiskFiles::write_temp(const std::string& temp, Bytes header, Bytes payload) const {
  HR_TRY(HR_FAILPOINT("disk.create"));
  const Fd file{::open(temp.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
  if (file.fd < 0) return disk_error("create " + temp, errno);
  HR_TRY(HR_FAILPOINT("disk.write"));
  uint64_t offset = 0;
  for (Bytes bytes : {header, payload}) {
    while (!bytes.empty()) {
      const ssize_t n = ::pwrite(file.fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return disk_error("write " + temp, n < 0 ? errno : ENOSPC);
      bytes = bytes.subspan(static_cast<size_t>(n));
      offset += static_cast<uint64_t>(n);
    }
    HR_TRY(HR_FAILPOINT("disk.written"));
  }
  return {};
}

// Not over a file that is there: its room is counted once, and it may be read.
Status DiskFiles::put_in_place(const std::string& temp, const BlockPlace& place) const {
  HR_TRY(HR_FAILPOINT("disk.rename"));
  const std::string path = path_of(place);
  for (int i = 0;; ++i) {
    if (::renameat2(AT_FDCWD, temp.c_str(), AT_FDCWD, path.c_str(), RENAME_NOREPLACE) == 0) return {};
    if (errno == EEXIST) return precondition_failed("write " + path + ": another process wrote it");
    if (errno != ENOENT || i == 1) return disk_error("rename to " + path, errno);
    const std::string folder = folder_path(place.folder);
    if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return disk_error("make " + folder, errno);
  }
}

Status DiskFiles::write(const DiskObject& object, const BlockPlace& place, Bytes payload) {
  HR_ASSERT(payload.size() == object.block_range(place.block).size());
  alignas(64) std::byte header[kDiskHeaderBytes];
  encode_block_header(object, place.block, payload, header);
  const std::string temp = root_ + "/temp/" + hex(token_, 8) + "-" + hex(next_temp_++, 1);
  Status status = write_temp(temp, header, payload);
  if (status.ok()) status = put_in_place(temp, place);
  if (status.ok()) {
    status = HR_FAILPOINT("disk.renamed");
    not_coming(block_file_bytes(payload.size()));
    use_->settle();
    return status;
  }
  ::unlink(temp.c_str());
  static_cast<void>(unreserve(block_file_bytes(payload.size())));
  return status;
}

Status DiskFiles::unreserve(uint64_t file_bytes) {
  not_coming(file_bytes);
  return use_->unreserve(file_bytes);
}

Result<DiskFiles::Removed> DiskFiles::remove(const BlockPlace& place, std::optional<FileId> which) {
  const std::string path = path_of(place);
  Removed removed = Removed::kWasGone;
  using Size = std::optional<uint64_t>;
  const auto unlink = [&]() -> Result<Size> {
    struct stat info;
    if (::lstat(path.c_str(), &info) != 0) {
      if (errno == ENOENT) return Size();
      return disk_error("look at " + path, errno);
    }
    if (which && *which != id_of(info)) {
      removed = Removed::kIsAnother;
      return Size();
    }
    HR_TRY(HR_FAILPOINT("disk.remove"));
    if (::unlink(path.c_str()) != 0) {
      if (errno == ENOENT) return Size();  // the user empties the folder
      return disk_error("remove " + path, errno);
    }
    HR_TRY(HR_FAILPOINT("disk.removed"));
    removed = Removed::kYes;
    return Size(info.st_size);
  };
  HR_TRY(use_->remove(unlink).status());
  return removed;
}

}  // namespace headrace
