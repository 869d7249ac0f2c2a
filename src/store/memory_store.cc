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

size_t MemoryStore::uploads() const {
  std::lock_guard lock(mutex_);
  return uploads_.size();
}

Result<EditReply> MemoryStore::complete_locked(const EditRequest& request) {
  if (request.if_none_match && objects_.contains(request.key)) {
    return precondition_failed(describe(*this, request) + ": the key exists already");
  }
  std::string content;
  for (uint32_t part = 1; part <= request.part_etags.size(); ++part) {
    const auto found = uploads_[request.upload_id].find(part);
    const bool good = found != uploads_[request.upload_id].end() &&
                      hash128(as_bytes(found->second)).hex() == request.part_etags[part - 1];
    if (!good) return invalid_argument(describe(*this, request) + ": no such part: " + std::to_string(part));
    content += found->second;
  }
  uploads_.erase(request.upload_id);
  return EditReply{"", store_locked(request.key, std::move(content)).etag};
}

Result<EditReply> MemoryStore::edit_now(const EditRequest& request) {
  using Kind = EditRequest::Kind;
  std::lock_guard lock(mutex_);
  const auto source = objects_.find(request.source);
  const bool copies = request.kind == Kind::kCopy || request.kind == Kind::kCopyPart;
  if (copies && source == objects_.end()) return not_found(describe(*this, request) + ": no such object");
  if (copies && !request.source_etag.empty() && source->second.meta.etag != request.source_etag) {
    return object_changed(describe(*this, request), request.source_etag, source->second.meta.etag);
  }
  if (request.kind == Kind::kBeginUpload) {
    const std::string id = "upload-" + std::to_string(++last_upload_);
    uploads_[id];
    return EditReply{id, ""};
  }
  if (request.kind == Kind::kCopy) return EditReply{"", store_locked(request.key, *source->second.content).etag};
  if (request.kind == Kind::kRemove) return objects_.erase(request.key), EditReply{};
  const auto upload = uploads_.find(request.upload_id);
  if (upload == uploads_.end()) return not_found(describe(*this, request) + ": no such upload");
  if (request.kind == Kind::kAbortUpload) return uploads_.erase(upload), EditReply{};
  if (request.kind == Kind::kCompleteUpload) return complete_locked(request);
  std::string& part = upload->second[request.part];
  part = request.kind == Kind::kUploadPart
             ? *request.content
             : source->second.content->substr(request.source_range.begin, request.source_range.size());
  return EditReply{"", hash128(as_bytes(part)).hex()};
}

void MemoryStore::edit(EditRequest request, Completion<EditReply> done, std::stop_token stop) {
  executor_.post([this, request = std::move(request), done = std::move(done), stop = std::move(stop)]() mutable {
    if (stop.stop_requested()) return done(cancelled(describe(*this, request) + ": stopped"));
    done(edit_now(request));
  });
}

}  // namespace headrace
