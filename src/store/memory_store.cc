// SPDX-License-Identifier: Apache-2.0
#include "store/memory_store.h"

#include "base/hash.h"
#include "store/key_pages.h"
#include "store/scatter.h"

namespace headrace {

MemoryStore::MemoryStore(TimedExecutor& executor, std::string name)
    : executor_(executor), name_(std::move(name)) {}

ObjectMeta MemoryStore::store_locked(const std::string& key, std::string content) {
  ObjectMeta meta;
  meta.key = key;
  meta.size = content.size();
  meta.etag = hash128(as_bytes(content)).hex();
  meta.modified_unix = executor_.clock().unix_seconds();
  objects_[key] = {std::make_shared<const std::string>(std::move(content)), meta};
  return meta;
}

std::string MemoryStore::set(const std::string& key, std::string content) {
  std::lock_guard lock(mutex_);
  return store_locked(key, std::move(content)).etag;
}

void MemoryStore::erase(const std::string& key) {
  std::lock_guard lock(mutex_);
  objects_.erase(key);
}

void MemoryStore::set_checksum(const std::string& key, std::shared_ptr<const StoredChecksum> checksum) {
  std::lock_guard lock(mutex_);
  objects_.at(key).meta.checksum = std::move(checksum);
}

ReadOutcome MemoryStore::read_now(const ReadRequest& request) const {
  ReadOutcome outcome;
  const std::string what = "read " + describe(*this, request.key, request.range);
  Object object;
  {
    std::lock_guard lock(mutex_);
    auto it = objects_.find(request.key);
    if (it == objects_.end() || !request.version_id.empty()) {
      outcome.status = not_found(what + ": no such object" +
                                 (request.version_id.empty() ? "" : " version " + request.version_id));
      return outcome;
    }
    object = it->second;
  }
  outcome.etag = object.meta.etag;
  outcome.object_size = object.meta.size;
  if (!request.if_match.empty() && request.if_match != object.meta.etag) {
    outcome.status = object_changed(what, request.if_match, object.meta.etag);
  } else if (request.range.end > object.meta.size) {
    outcome.status = object_too_short(what, object.meta.size);
  } else {
    scatter_copy(request.dst,
                 as_bytes(*object.content).subspan(request.range.begin, request.range.size()));
    outcome.bytes = request.range.size();
  }
  return outcome;
}

void MemoryStore::read(ReadRequest request, UniqueFunction<void(ReadOutcome)> done, std::stop_token stop) {
  HR_ASSERT(!request.range.empty() && scatter_bytes(request.dst) == request.range.size());
  executor_.post([this, request = std::move(request), done = std::move(done),
                  stop = std::move(stop)]() mutable {
    ReadOutcome outcome;
    if (stop.stop_requested()) {
      outcome.status = cancelled("read " + describe(*this, request.key, request.range) + ": stopped");
    } else {
      outcome = read_now(request);
    }
    done(std::move(outcome));
  });
}

Result<ObjectMeta> MemoryStore::head_of(const std::string& key) const {
  std::lock_guard lock(mutex_);
  auto it = objects_.find(key);
  if (it == objects_.end()) return not_found("head " + name_ + "/" + key + ": no such object");
  return it->second.meta;
}

void MemoryStore::head(std::string key, Completion<ObjectMeta> done, std::stop_token stop) {
  executor_.post([this, key = std::move(key), done = std::move(done), stop = std::move(stop)]() mutable {
    if (stop.stop_requested()) return done(cancelled("head " + name_ + "/" + key + ": stopped"));
    done(head_of(key));
  });
}

Result<ListPage> MemoryStore::page(const ListRequest& request) const {
  std::lock_guard lock(mutex_);
  return page_of_keys(
      [this](const std::string& from) -> std::optional<ObjectMeta> {
        auto it = objects_.lower_bound(from);
        if (it == objects_.end()) return std::nullopt;
        return it->second.meta;
      },
      request);
}

void MemoryStore::list(ListRequest request, Completion<ListPage> done, std::stop_token stop) {
  executor_.post([this, request = std::move(request), done = std::move(done),
                  stop = std::move(stop)]() mutable {
    if (stop.stop_requested()) return done(cancelled("list " + name_ + "/" + request.prefix + ": stopped"));
    done(page(request));
  });
}

Result<ObjectMeta> MemoryStore::put_object(PutRequest request) {
  std::lock_guard lock(mutex_);
  if (request.if_none_match && objects_.contains(request.key)) {
    return precondition_failed("put " + name_ + "/" + request.key + ": the key exists already");
  }
  return store_locked(request.key, std::move(request.content));
}

void MemoryStore::put(PutRequest request, Completion<ObjectMeta> done, std::stop_token stop) {
  executor_.post([this, request = std::move(request), done = std::move(done),
                  stop = std::move(stop)]() mutable {
    if (stop.stop_requested()) return done(cancelled("put " + name_ + "/" + request.key + ": stopped"));
    done(put_object(std::move(request)));
  });
}

}  // namespace headrace
