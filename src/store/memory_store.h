// SPDX-License-Identifier: Apache-2.0
//
// Objects in memory, for tests, simulations and the demo's small pieces. Answers like S3 does: ETags, If-Match, sizes,
// pages of keys. Keeps no versions. Safe to use from several threads when its executor is.
#pragma once

#include <map>
#include <memory>
#include <mutex>

#include "store/object_store.h"

namespace headrace {

class MemoryStore final : public ObjectStore {
 public:
  explicit MemoryStore(TimedExecutor& executor, std::string name = "memory:");

  // Direct access for tests: takes effect at once. The ETag (XXH128 of the content) is returned.
  std::string set(const std::string& key, std::string content);
  void erase(const std::string& key);
  size_t uploads() const;  // begun, and neither completed nor aborted
  // What head() says of the object's content from now on, true or not.
  void set_checksum(const std::string& key, std::shared_ptr<const StoredChecksum> checksum);

  void read(ReadRequest request, UniqueFunction<void(ReadOutcome)> done, std::stop_token stop) override;
  void head(std::string key, Completion<ObjectMeta> done, std::stop_token stop) override;
  void list(ListRequest request, Completion<ListPage> done, std::stop_token stop) override;
  void put(PutRequest request, Completion<ObjectMeta> done, std::stop_token stop) override;
  void edit(EditRequest request, Completion<EditReply> done, std::stop_token stop) override;
  TimedExecutor& executor() override { return executor_; }
  const std::string& name() const override { return name_; }

 private:
  struct Object {
    std::shared_ptr<const std::string> content;
    ObjectMeta meta;
  };
  ReadOutcome read_now(const ReadRequest& request) const;
  Result<ObjectMeta> head_of(const std::string& key) const;
  Result<ListPage> page(const ListRequest& request) const;
  Result<ObjectMeta> put_object(PutRequest request);
  Result<EditReply> edit_now(const EditRequest& request);
  Result<EditReply> complete_locked(const EditRequest& request);
  ObjectMeta store_locked(const std::string& key, std::string content);

  TimedExecutor& executor_;
  const std::string name_;
  mutable std::mutex mutex_;
  std::map<std::string, Object> objects_;
  std::map<std::string, std::map<uint32_t, std::string>> uploads_;  // parts by upload id
  uint64_t last_upload_ = 0;
};

}  // namespace headrace
