// SPDX-License-Identifier: Apache-2.0
//
// A mount without the kernel: what each file operation does and which errno it ends with. fuse_calls.cc translates
// libfuse's calls to these, tests call them directly. Each EIO has its line in the log, said here and nowhere else.
//
// All calls block until the answer is there, at the longest until their deadline; any thread.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "cache/disk_store.h"
#include "mount/catalog.h"
#include "mount/errno_map.h"
#include "mount/read_cache.h"
#include "mount/stats.h"
#include "mount/upload.h"
#include "sys/buffer_pool.h"

namespace headrace::mount {

// Of the folder .headrace, which is there but in no listing: numbers that no node has.
constexpr Ino kControlFolderIno = Ino{0xFFFFFF} << 40 | 1;
constexpr Ino kStatsIno = kControlFolderIno + 1;
constexpr Ino kPlanSocketIno = kControlFolderIno + 2;

struct MountOptions {
  CatalogOptions catalog;
  ReadCacheOptions read;
  UploadOptions upload;
  std::string plan_socket;  // where the plan's socket is; "" = there is none
  bool allow_write = false;
  std::shared_ptr<const DiskStore> disk;  // part of the store, for its counters; null: nothing is kept on disk
};

// An open file, from open() to release().
struct OpenFile {
  Ino ino = 0;
  std::shared_ptr<CachedFile> file;
  std::string text;                // of a control file: its content when it was opened
  std::shared_ptr<Upload> upload;  // of a new one ...
  int64_t opener = 0;              // ... and the process that made it
};

class Mount {
 public:
  // The buffers reserve in `budget`; `background` is for work that nobody waits for.
  Mount(std::shared_ptr<ObjectStore> store, std::shared_ptr<const StoreMetrics> store_metrics,
        std::shared_ptr<BufferPool> buffers, std::shared_ptr<Budget> budget, Executor& background,
        MountOptions options);
  ~Mount();

  // Can it be mounted? One LIST.
  Status check() { return catalog_.check(); }

  // Each returns 0 or an errno.
  int lookup(Ino folder, std::string_view name, Attributes* out);  // ENOENT with out->ino 0 and how long that holds
  int attributes(Ino ino, Attributes* out);
  int open_folder(Ino ino, FolderView* out);
  void close_folder(const FolderView& view) { catalog_.close_folder(view.ino); }
  Attributes entry(Ino ino, bool ref, std::string* name) { return catalog_.entry(ino, ref, name); }
  void forget(Ino ino, uint64_t refs);
  int open(Ino ino, int flags, std::unique_ptr<OpenFile>* out);
  int read(OpenFile& file, uint64_t offset, uint64_t size, ReadBytes* out);
  void release(std::unique_ptr<OpenFile> file);
  int attribute(Ino ino, std::string_view name, std::string* value);  // user.headrace.*
  static const std::vector<std::string>& attribute_names();

  // Of a mount that may be written to (mount_write.cc); EROFS otherwise. create() and make_folder() give references as
  // lookup() does.
  int create(Ino folder, std::string_view name, int flags, Attributes* out, std::unique_ptr<OpenFile>* file);
  int write(OpenFile& file, uint64_t offset, Bytes bytes);
  int commit(OpenFile& file, bool empty_too);  // at close and fsync
  int make_folder(Ino parent, std::string_view name, Attributes* out);
  int remove_folder(Ino parent, std::string_view name);
  int rename(Ino folder, std::string_view name, Ino to_folder, std::string_view to_name, unsigned flags);
  int set_attributes(Ino ino, bool only_times, const int64_t* modified_unix, Attributes* out);

  // For the plan: the file at a path, which stays in memory until unpin(). `file` is null of a folder.
  Status pin(std::string_view path, Ino* ino, std::shared_ptr<CachedFile>* file);
  void unpin(Ino ino);

  // Also for the plan: memory of the budget for what is kept of it. False: there is none now.
  bool hold(uint64_t bytes) { return make_room(bytes) && budget_->reserve(bytes); }
  void let_go(uint64_t bytes) { budget_->release(bytes); }

  std::string stats_text() const;
  MountStats& stats() { return stats_; }
  Catalog& catalog() { return catalog_; }
  ReadCache& cache() { return cache_; }
  // Fails what waits (ENOTCONN) and waits for requests under way.
  void close();

 private:
  int fail(const Status& status, Act act);
  bool make_room(uint64_t bytes);
  int new_key(Ino folder, std::string_view name, std::string* key);
  int taken(Ino folder, std::string_view name, bool exclusive);
  Status copy_object(const std::string& from, const std::string& etag, uint64_t size, const std::string& to,
                     std::string* new_etag);
  std::string control_text(Ino ino) const;

  const MountOptions options_;
  const std::shared_ptr<ObjectStore> store_;
  const std::shared_ptr<const StoreMetrics> store_metrics_;
  const std::shared_ptr<BufferPool> buffers_;
  const std::shared_ptr<Budget> budget_;
  MountStats stats_;
  ReadCache cache_;
  Catalog catalog_;
};

}  // namespace headrace::mount
