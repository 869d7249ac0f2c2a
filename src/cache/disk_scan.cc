// SPDX-License-Identifier: Apache-2.0
//
// The scan of a cache folder at the start: what is there, by the names and sizes of the files alone. Whether a block is
// good is found out when it is read.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <chrono>
#include <optional>
#include <thread>

#include "cache/disk_errors.h"
#include "cache/disk_files.h"

namespace headrace {
namespace {

// For a moment in which no process has a file on its way, to count from. 0.2 s; then the next opener counts.
constexpr int kRecountTries = 20;
constexpr auto kRecountPause = std::chrono::milliseconds(10);

struct Dir {
  DIR* dir;
  // Null with errno where `path` is not a folder itself: a link to one leads out of the cache.
  explicit Dir(const std::string& path) : dir(nullptr) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && (dir = ::fdopendir(fd)) == nullptr) ::close(fd);
  }
  Dir(const Dir&) = delete;
  Dir& operator=(const Dir&) = delete;
  ~Dir() {
    if (dir != nullptr) ::closedir(dir);
  }
  // The next name but "." and ".."; empty at the end.
  std::string next() const {
    while (const dirent* entry = ::readdir(dir)) {
      const std::string_view name = entry->d_name;
      if (name != "." && name != "..") return std::string(name);
    }
    return {};
  }
};

// Exactly `digits` lower-case hex digits.
std::optional<uint64_t> parse_hex(std::string_view text, size_t digits) {
  if (text.size() != digits || text.find_first_not_of("0123456789abcdef") != text.npos) return std::nullopt;
  uint64_t value = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), value, 16).ec != std::errc()) return std::nullopt;
  return value;
}

// "OBJECT-BLOCK"; objects have at most 5 TiB, which bounds the block.
std::optional<BlockPlace> parse_block_name(uint64_t folder, std::string_view name) {
  constexpr uint64_t kBlocksMax = (5ull << 40) / kDiskBlockBytes;
  if (name.size() != 41 || name[32] != '-') return std::nullopt;
  const auto high = parse_hex(name.substr(0, 16), 16), low = parse_hex(name.substr(16, 16), 16);
  const auto block = parse_hex(name.substr(33), 8);
  if (!high || !low || !block || *block >= kBlocksMax) return std::nullopt;
  BlockPlace place{folder, {}, static_cast<uint32_t>(*block)};
  for (int i = 0; i < 8; ++i) {
    place.object.bytes[i] = static_cast<uint8_t>(*high >> (56 - 8 * i));
    place.object.bytes[8 + i] = static_cast<uint8_t>(*low >> (56 - 8 * i));
  }
  return place;
}

}  // namespace

Status DiskFiles::scan(const std::function<void(const Entry&)>& found, const std::atomic<bool>& stop) {
  clean_temps();
  Result<std::optional<DiskUse::Count>> from = use_->begin_recount();
  for (int i = 0; i < kRecountTries && from.ok() && !*from && !stop; ++i) {
    std::this_thread::sleep_for(kRecountPause);
    from = use_->begin_recount();
  }
  DiskTotals totals;
  Status status;
  {
    const Dir blocks(root_ + "/blocks");
    if (blocks.dir == nullptr) status = disk_error("scan " + root_ + "/blocks", errno);
    while (status.ok() && !stop) {
      const std::string name = blocks.next();
      if (name.empty()) break;
      status = scan_folder(name, found, stop, totals);
    }
  }
  HR_TRY(status);
  HR_TRY(from.status());
  if (!*from || stop) return {};
  return use_->end_recount(**from, totals);
}

Status DiskFiles::scan_folder(const std::string& name, const std::function<void(const Entry&)>& found,
                              const std::atomic<bool>& stop, DiskTotals& totals) {
  const auto folder = parse_hex(name, 16);
  if (!folder) return {};  // not ours
  const Dir files(root_ + "/blocks/" + name);
  if (files.dir == nullptr) {
    if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP) return {};  // gone, or not ours either
    return disk_error("scan " + root_ + "/blocks/" + name, errno);
  }
  while (!stop) {
    const std::string file = files.next();
    if (file.empty()) break;
    const auto place = parse_block_name(*folder, file);
    struct stat info;
    if (!place || ::fstatat(::dirfd(files.dir), file.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) continue;
    const auto bytes = static_cast<uint64_t>(info.st_size);
    totals.bytes += bytes;
    ++totals.files;
    if (S_ISREG(info.st_mode)) found({*place, bytes, info.st_mtim.tv_sec});
  }
  return {};
}

// "TOKEN-NUMBER": those of processes that are no more. Their room comes back with the recount.
void DiskFiles::clean_temps() {
  const Dir temps(root_ + "/temp");
  if (temps.dir == nullptr) return;
  while (true) {
    const std::string name = temps.next();
    if (name.empty()) return;
    const bool ours = name.size() > 9 && name[8] == '-';
    const auto token = ours ? parse_hex(std::string_view(name).substr(0, 8), 8) : std::nullopt;
    if (token && use_->alive(static_cast<uint32_t>(*token))) continue;
    if (::unlinkat(::dirfd(temps.dir), name.c_str(), 0) == 0) ++temps_removed_;
  }
}

}  // namespace headrace
