// SPDX-License-Identifier: Apache-2.0
//
// file:// URLs: the files below one folder as objects. Keys are relative paths; nothing outside the folder can be named
// (a link inside it may lead out: whoever made the folder decided that). Reads are preads on `io`'s threads,
// completions run on `executor`. The ETag is size + mtime + inode, so a replaced or rewritten file is noticed.
#pragma once

#include <memory>

#include "store/object_store.h"

namespace headrace {

struct FileStoreOptions {
  uint64_t list_objects_max = 50'000'000;  // about 10 GB of names: a guard, not a working size
};

class FileStore final : public ObjectStore {
 public:
  // `root` is an absolute path. Both executors must outlive every request.
  FileStore(std::string root, std::shared_ptr<Executor> io, TimedExecutor& executor,
            FileStoreOptions options = {});
  ~FileStore() override;

  void read(ReadRequest request, UniqueFunction<void(ReadOutcome)> done, std::stop_token stop) override;
  void head(std::string key, Completion<ObjectMeta> done, std::stop_token stop) override;
  void list(ListRequest request, Completion<ListPage> done, std::stop_token stop) override;
  void put(PutRequest request, Completion<ObjectMeta> done, std::stop_token stop) override;
  TimedExecutor& executor() override;
  const std::string& name() const override;

 private:
  // Outlives the store while requests are under way. Does not hold `io`: the last request ends on a thread of io's,
  // which could not join itself.
  struct Core;
  template <class T, class Work>
  void submit(Work work, Completion<T> done, std::stop_token stop, std::string what);
  const std::shared_ptr<Executor> io_;
  std::shared_ptr<Core> core_;
};

}  // namespace headrace
