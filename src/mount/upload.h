// SPDX-License-Identifier: Apache-2.0
//
// A new object, written from front to back. Nothing of it is to be seen before finish(): small ones are one PUT, larger
// ones an upload in parts, several under way at a time, given up (and removed from the store) when anything fails.
// Never replaces an object. One writer at a time; blocking.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <vector>

#include "mount/stats.h"
#include "store/object_store.h"
#include "sys/budget.h"

namespace headrace::mount {

struct UploadOptions {
  // The first 1,000 parts, then 8 times as much for 4,000, then 64 times: 3 TB in S3's 10,000 parts.
  uint64_t part_bytes = 8 << 20;
  uint32_t parts_max = 10'000;
  uint32_t in_flight_max = 4;
  Nanos memory_deadline{std::chrono::seconds(60)};  // of a write that waits for room
};

class Upload {
 public:
  Upload(std::shared_ptr<ObjectStore> store, std::shared_ptr<Budget> budget, std::function<bool(uint64_t)> make_room,
         MountStats& stats, std::string key, UploadOptions options = {});
  ~Upload();  // aborts what was not finished

  // Takes the memory of the first part, so that a file that cannot be written fails when it is opened.
  Status begin();
  // kInvalidArgument: not where the file ends; kExhausted: too large. Any failure is for good.
  Status write(uint64_t offset, Bytes bytes);
  // The object is there, whole, when this is ok. Further calls say the same again.
  Status finish();
  void abort();

  uint64_t size() const;
  bool finished() const;
  std::string etag() const;
  const std::string& key() const { return key_; }

 private:
  using Lock = std::unique_lock<std::mutex>;
  uint64_t part_bytes(uint64_t part) const;
  Status reserve(uint64_t bytes, Lock& lock);
  Status send_part(Lock& lock);
  Status start_upload(Lock& lock);
  Status complete(Lock& lock);
  Status wait_idle(Lock& lock, uint32_t in_flight);
  Status failed(Status status, Lock& lock);
  void drop(Lock& lock);

  const std::shared_ptr<ObjectStore> store_;
  const std::shared_ptr<Budget> budget_;
  const std::function<bool(uint64_t)> make_room_;
  MountStats& stats_;
  const std::string key_;
  const UploadOptions options_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::string part_;       // being filled
  uint64_t reserved_ = 0;  // for part_
  uint64_t size_ = 0;
  std::string upload_id_;  // "" = no part was sent yet
  std::vector<std::string> etags_;
  uint32_t in_flight_ = 0;
  Status status_;  // the first failure
  bool finished_ = false, dropped_ = false;
  std::string etag_;
  std::stop_source stop_;
};

}  // namespace headrace::mount
