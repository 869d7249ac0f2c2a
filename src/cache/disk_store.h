// SPDX-License-Identifier: Apache-2.0
//
// DiskStore: what was read once is read from the local disk: an ObjectStore over another one and a DiskCache. Stands
// above retries and admission (only what goes out should wait for its turn there) and below a KeepStore.
//
// A read names an object's version (if_match) and size (object_size), else it goes through as asked. Blocks of it that
// are on the disk are read and verified there; those that are not are fetched whole, once for everybody who waits for
// them, handed over, and then written; those that are worth no place go through in the range that was asked for. If
// any of it fails, the whole read goes through as asked: the cache can make a read slower, never wrong, and never fail.
//
// Disk work runs on `io`, threads that may block; nothing else here does.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cache/disk_cache.h"
#include "store/object_store.h"
#include "sys/budget.h"
#include "sys/buffer_source.h"

namespace headrace {

class DiskReads;

struct DiskStoreOptions {
  std::string place;     // endpoint and bucket: what, with key and ETag, says whose bytes they are. No secrets.
  bool planned = false;  // a data set of which every block is wanted again; else unknown traffic (disk_index.h)
  // Blocks being fetched or written: 32 MiB, which at 50 ms a fetch are 640 MB/s. At most a 16th of the memory.
  uint32_t buffers_max = 64;
  // A disk that takes longer is no faster than the store.
  Nanos slow_after = std::chrono::seconds(1);
};

class DiskStore final : public ObjectStore {
 public:
  // `io` must outlive the store; its threads may block. `budget` is the one that `buffers` reserves in, or null.
  DiskStore(std::shared_ptr<ObjectStore> inner, std::shared_ptr<DiskCache> cache, Executor& io,
            std::shared_ptr<BufferSource> buffers, std::shared_ptr<Budget> budget, DiskStoreOptions options);
  ~DiskStore() override;  // close()

  // Cancels fetches, waits for them and for what is being written. Not from the executor's thread or one of io's.
  void close();

  // A planned store's objects: their blocks keep their place against other data sets, in other processes too, until the
  // store is closed.
  void claim(const std::vector<ObjectMeta>& objects);
  // When blocks will be needed, by the clock of ReadRequest::due: those of claimed objects, or, of a store that is not
  // planned, those of which anything is known. Null: not known.
  void set_uses(std::shared_ptr<const KnownUses> uses);

  void read(ReadRequest request, UniqueFunction<void(ReadOutcome)> done, std::stop_token stop) override;
  void head(std::string key, Completion<ObjectMeta> done, std::stop_token stop) override;
  void list(ListRequest request, Completion<ListPage> done, std::stop_token stop) override;
  void put(PutRequest request, Completion<ObjectMeta> done, std::stop_token stop) override;
  void edit(EditRequest request, Completion<EditReply> done, std::stop_token stop) override;
  TimedExecutor& executor() override { return inner_->executor(); }
  TimedExecutor& executor_of(int32_t loop) override { return inner_->executor_of(loop); }
  const std::string& name() const override { return inner_->name(); }
  bool crowded(uint64_t lane) const override { return inner_->crowded(lane); }

  DiskCache& cache() const { return *cache_; }
  const std::string& place() const { return options_.place; }
  uint64_t bytes_wanted() const;  // in all reads of this store ...
  uint64_t bytes_asked() const;   // ... and what was asked of `inner` for them

 private:
  struct Claim {
    Hash128 object;
    uint64_t folder;
  };
  const std::shared_ptr<ObjectStore> inner_;
  const std::shared_ptr<DiskCache> cache_;
  const DiskStoreOptions options_;
  const std::shared_ptr<Budget> budget_;
  const std::shared_ptr<DiskReads> reads_;
  const int64_t pid_;  // a forked child leaves alone what its parent's threads hold
  std::vector<Claim> claims_;
  uint64_t listener_ = 0;
  bool closed_ = false;
};

}  // namespace headrace
