// SPDX-License-Identifier: Apache-2.0
//
// A cache folder with anything in it: names, kinds of files and contents as the input says. The scan finds the files
// whose names are those of blocks and no others, counts them, and a block is read from such a file only when it is that
// block's. Input: records of (kind, where, length), then a name or edits of a true block file.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "base/endian.h"
#include "cache/disk_files.h"

using namespace headrace;

namespace {

namespace fs = std::filesystem;

void require(bool holds) {
  if (!holds) std::abort();
}

// In memory where there is such a folder: eight times as many runs.
fs::path scratch() {
  const fs::path memory = "/dev/shm";
  std::error_code none;
  const fs::path above = fs::is_directory(memory, none) ? memory : fs::temp_directory_path();
  return above / ("headrace-fuzz-" + std::to_string(::getpid()));
}

const DiskObject& object() {
  static const DiskObject one{"https://a.example/b", "k/x.tar", "0123abcd", "", kDiskBlockBytes + 70'000ull};
  return one;
}
const BlockPlace& place() {
  static const BlockPlace last{object().folder_hash(), object().hash(), 1};
  return last;
}

std::string name_of(const BlockPlace& where) {
  char folder[24], block[16];
  std::snprintf(folder, sizeof folder, "%016" PRIx64, where.folder);
  std::snprintf(block, sizeof block, "%08" PRIx32, where.block);
  return std::string(folder) + "/" + where.object.hex() + "-" + block;
}

// By the words of docs/cache.md: 16 hex digits, then 32, "-" and 8, of an object of at most 5 TiB.
bool is_block_name(const std::string& folder, const std::string& file) {
  const auto hex = [](std::string_view text) {
    return text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
  };
  return folder.size() == 16 && hex(folder) && file.size() == 41 && hex(std::string_view(file).substr(0, 32)) &&
         file[32] == '-' && hex(std::string_view(file).substr(33)) && file.substr(33) < "00a00000";
}

// A name of a file of the bytes given: half of them stand for hex digits, most others for ASCII.
std::string a_name(std::string_view bytes, size_t most) {
  std::string out;
  for (const char one : bytes.substr(0, most)) {
    const auto code = static_cast<unsigned char>(one);
    out += code < 128 ? "0123456789abcdef"[code % 16] : code < 0xF0 ? static_cast<char>(code - 128) : one;
  }
  for (char& one : out) {
    if (one == '/' || one == '\0') one = '-';
  }
  return out.empty() || out == "." || out == ".." ? "-" : out;
}

void put(const fs::path& path, uint8_t kind, std::string_view content) {
  std::error_code ignored;
  fs::create_directories(path.parent_path(), ignored);
  if (fs::symlink_status(path).type() != fs::file_type::not_found) return;
  if (kind % 8 == 1) return void(fs::create_directory(path, ignored));
  if (kind % 8 == 2) return void(fs::create_symlink(std::string(content.substr(0, 100)) + "x", path, ignored));
  if (kind % 8 == 3) return void(::mkfifo(path.c_str(), 0600));
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return;
  if (::write(fd, content.data(), content.size()) < 0) std::abort();
  ::close(fd);
}

// The last block's file, cut short and edited: (offset, offset, offset, value) each.
std::string edited_block(std::string_view edits) {
  const std::string payload(object().block_range(1).size(), 'p');
  std::string file(kDiskHeaderBytes, '\0');
  encode_block_header(object(), 1, as_bytes(payload), {reinterpret_cast<std::byte*>(file.data()), file.size()});
  file += payload;
  for (; edits.size() >= 4; edits.remove_prefix(4)) {
    const uint32_t word = load_le<uint32_t>(edits.data());
    if (word % 16 == 15) {
      file.resize((word >> 4) % (file.size() + 2), 'z');
    } else if (!file.empty()) {
      file[(word >> 8) % file.size()] ^= static_cast<char>(word);
    }
  }
  return file;
}

bool is_true_block(std::string_view file, ByteRange cells) {
  if (file.size() < kDiskHeaderBytes + cells.end) return false;
  const Bytes header = as_bytes(file.substr(0, kDiskHeaderBytes));
  return check_block_header(header, object(), 1).ok() &&
         check_block_cells(header, static_cast<uint32_t>(cells.begin / kDiskCellBytes),
                           as_bytes(file.substr(kDiskHeaderBytes + cells.begin, cells.size())))
             .ok();
}

void check_scan(DiskFiles& files, const fs::path& root) {
  std::set<std::string> found, there;
  std::atomic<bool> stop{false};
  const Status scanned = files.scan(
      [&](const DiskFiles::Entry& entry) {
        require(found.insert(name_of(entry.place)).second);
        require(fs::file_size(root / "blocks" / name_of(entry.place)) == entry.file_bytes);
      },
      stop);
  require(scanned.ok());
  std::error_code ignored;
  for (const auto& folder : fs::directory_iterator(root / "blocks")) {
    if (!folder.is_directory() || folder.is_symlink()) continue;
    for (const auto& file : fs::directory_iterator(folder.path(), ignored)) {
      const std::string in = folder.path().filename(), name = file.path().filename();
      const bool regular = fs::symlink_status(file.path()).type() == fs::file_type::regular;
      if (is_block_name(in, name) && regular) there.insert(in + "/" + name);
    }
  }
  require(found == there);
}

void check_read(DiskFiles& files, const std::string& file, uint8_t from, uint8_t bytes) {
  const ByteRange block = object().block_range(1);
  const uint64_t begin = block.begin + uint64_t{from} * 270;
  const ByteRange range = {begin, std::min(block.end, begin + 1 + uint64_t{bytes} * 270)};
  std::vector<std::byte> into(kDiskBlockBytes);
  const DiskFiles::Read read = files.read(object(), place(), range, into);
  const uint64_t first = (begin - block.begin) / 65536 * 65536;
  const uint64_t end = std::min(block.size(), (range.end - block.begin + 65535) / 65536 * 65536);
  require(read.status.ok() == is_true_block(file, {first, end}));
  if (!read.status.ok()) return;
  require(as_text(Bytes(into).subspan(read.at, range.size())) ==
          std::string_view(file).substr(kDiskHeaderBytes + begin - block.begin, range.size()));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 3) return 0;
  static const fs::path dir = scratch();
  const fs::path root = dir / "headrace-cache-v1";
  fs::remove_all(dir);
  auto files = DiskFiles::open(dir, {.bytes_max = 1 << 30, .files_max = 0, .free_share = 0});
  require(files.ok());
  std::string block_file;
  std::string_view rest(reinterpret_cast<const char*>(data) + 2, size - 2);
  while (rest.size() >= 3) {
    const auto kind = static_cast<uint8_t>(rest[0]), where = static_cast<uint8_t>(rest[1]);
    const std::string_view given = rest.substr(3, static_cast<uint8_t>(rest[2]));
    rest.remove_prefix(3 + given.size());
    const size_t half = std::min<size_t>(given.size(), 16);
    if (where % 4 == 0) put(root / "blocks" / a_name(given, 255), kind, given);
    if (where % 4 == 1) put(root / "temp" / a_name(given, 255), kind, given);
    const fs::path folder = root / "blocks" / a_name(given.substr(0, half), 16);
    if (where % 4 == 2) put(folder / a_name(given.substr(half), 255), kind, given);
    if (where % 4 == 3 && fs::symlink_status(root / "blocks" / name_of(place())).type() == fs::file_type::not_found) {
      const std::string content = edited_block(given);
      put(root / "blocks" / name_of(place()), kind, content);
      if (kind % 8 == 0 || kind % 8 > 3) block_file = content;
    }
  }
  check_scan(**files, root);
  check_read(**files, block_file, data[0], data[1]);
  return 0;
}

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  std::atexit([] {
    std::error_code ignored;
    fs::remove_all(scratch(), ignored);
  });
  return 0;
}
