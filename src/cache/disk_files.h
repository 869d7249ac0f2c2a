// SPDX-License-Identifier: Apache-2.0
//
// DiskFiles: the folder of the disk cache. Block files are written beside and renamed into place, so that a name is a
// whole block or nothing, for every process that looks. Nothing is synced: what a power cut tears, the CRCs find.
//
//   DIR/headrace-cache-v1/use                            counts and locks (disk_use.h)
//                        /blocks/FOLDER/OBJECT-BLOCK     16, 32 and 8 hex digits
//                        /temp/TOKEN-NUMBER              being written by the process with this token
//
// All calls block and may come from any thread. Decides nothing: what to keep is disk_index.h's, what to do about a
// failing disk disk_health.h's.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cache/disk_block.h"
#include "cache/disk_use.h"

namespace headrace {

struct DiskLimits {
  uint64_t bytes_max = 0;  // of all block files together, headers included; 0: what free_share leaves
  uint64_t files_max = 0;  // 0: likewise
  // Of the disk's bytes and inodes, what is left free for others.
  double free_share = 0.05;
};

// Where a block's file is.
struct BlockPlace {
  uint64_t folder = 0;  // DiskObject::folder_hash()
  Hash128 object;       // DiskObject::hash()
  uint32_t block = 0;
};

inline uint64_t block_file_bytes(uint64_t payload) { return kDiskHeaderBytes + payload; }

class DiskFiles {
 public:
  // Makes the folder, for this user only (0700). kPermission where it belongs to somebody else or others may write it.
  static Result<std::unique_ptr<DiskFiles>> open(const std::string& dir, DiskLimits limits);

  // Which file stood under a name: of the one that is put in its place at least one of these differs.
  struct FileId {
    uint64_t inode = 0;
    int64_t changed_s = 0, changed_ns = 0;
    bool operator==(const FileId&) const = default;
  };
  // The bytes of `range` (inside the block's) at the front of `into`, or kNotFound; kCorrupt when the file is not that
  // block, whole and true; others as the disk says. `into` has room for a block; `at` is where in it they begin.
  struct Read {
    Status status;
    FileId file;              // that was found
    uint64_t file_bytes = 0;  // its size
    size_t at = 0;
  };
  Read read(const DiskObject& object, const BlockPlace& place, ByteRange range, MutableBytes into);

  enum class Room { kYes, kFull, kLow };  // kFull: a limit of the cache; kLow: the disk itself
  Result<Room> reserve(uint64_t file_bytes);
  // Room is reserved, and given back unless this is ok. kPrecondition: the block is there already.
  Status write(const DiskObject& object, const BlockPlace& place, Bytes payload);
  Status unreserve(uint64_t file_bytes);
  enum class Removed { kYes, kWasGone, kIsAnother };
  // Whatever file it is, or only `which`: another one that has come into its place stays.
  Result<Removed> remove(const BlockPlace& place, std::optional<FileId> which = {});

  struct Entry {
    BlockPlace place;
    uint64_t file_bytes = 0;
    int64_t used_unix = 0;
  };
  // Every block file, in no order; files of dead processes and what has no place here are removed on the way, and the
  // count is put right. `stop` is looked at now and then.
  Status scan(const std::function<void(const Entry&)>& found, const std::atomic<bool>& stop);

  DiskUse& use() { return *use_; }
  const std::string& path() const { return root_; }
  uint64_t temps_removed() const { return temps_removed_; }

 private:
  DiskFiles(std::string root, DiskLimits limits, uint32_t token, std::unique_ptr<DiskUse> use)
      : root_(std::move(root)), limits_(limits), token_(token), use_(std::move(use)) {}
  std::string folder_path(uint64_t folder) const;
  std::string path_of(const BlockPlace& place) const;
  Result<Room> room_for(uint64_t file_bytes, uint64_t coming_bytes, uint64_t coming_files);
  void not_coming(uint64_t file_bytes);
  Status write_temp(const std::string& temp, Bytes header, Bytes payload) const;
  Status put_in_place(const std::string& temp, const BlockPlace& place) const;
  Status scan_folder(const std::string& name, const std::function<void(const Entry&)>& found,
                     const std::atomic<bool>& stop, DiskTotals& totals);
  void clean_temps();

  const std::string root_;
  const DiskLimits limits_;
  const uint32_t token_;
  const std::unique_ptr<DiskUse> use_;
  std::atomic<uint64_t> next_temp_{0};
  std::atomic<uint64_t> temps_removed_{0};
  // Reserved by this process and not on the disk yet, which therefore still calls that room free.
  std::atomic<uint64_t> coming_bytes_{0}, coming_files_{0};
};

}  // namespace headrace
