// SPDX-License-Identifier: Apache-2.0
#include "store/object_store.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>

namespace headrace {
namespace {

// Where a blocking call sleeps until its completion has run. Shared with the completion, which may run last.
template <class T>
class Answer {
 public:
  void set(T value) {
    {
      std::lock_guard lock(mutex_);
      value_ = std::move(value);
    }
    ready_.notify_one();
  }
  T wait() {
    std::unique_lock lock(mutex_);
    ready_.wait(lock, [this] { return value_.has_value(); });
    return std::move(*value_);
  }

 private:
  std::mutex mutex_;
  std::condition_variable ready_;
  std::optional<T> value_;
};

}  // namespace

std::string describe(const ObjectStore& store, const std::string& key, ByteRange range) {
  std::string text = store.name();
  text.reserve(text.size() + key.size() + 56);
  text += '/';
  text += key;
  text += " bytes ";
  text += range.text();
  return text;
}

std::string describe(const ObjectStore& store, const EditRequest& request) {
  const std::string of = store.name() + "/" + request.key, part = "part " + std::to_string(request.part) + " of ";
  switch (request.kind) {
    case EditRequest::Kind::kBeginUpload: return "begin the upload of " + of;
    case EditRequest::Kind::kUploadPart: return "upload " + part + of;
    case EditRequest::Kind::kCompleteUpload: return "complete the upload of " + of;
    case EditRequest::Kind::kAbortUpload: return "abort the upload of " + of;
    case EditRequest::Kind::kCopy: return "copy " + store.name() + "/" + request.source + " to " + of;
    case EditRequest::Kind::kCopyPart:
      return "copy bytes " + request.source_range.text() + " of " + store.name() + "/" + request.source + " as " +
             part + of;
    case EditRequest::Kind::kRemove: return "remove " + of;
  }
  return of;
}

void ObjectStore::edit(EditRequest request, Completion<EditReply> done, std::stop_token) {
  executor().post([what = describe(*this, request), done = std::move(done)]() mutable {
    done(unsupported(what + ": this kind of store does not support it"));
  });
}

Status object_changed(const std::string& what, const std::string& etag_expected,
                      const std::string& etag_found) {
  return precondition_failed(
      what + ": the object changed: etag_expected=\"" + etag_expected + "\" etag_found=" +
      (etag_found.empty() ? std::string("unknown") : "\"" + etag_found + "\"") +
      "; its samples cannot be trusted: index the data set again, or pin object versions");
}

Status object_too_short(const std::string& what, uint64_t object_size) {
  return precondition_failed(what + ": the object changed: it ends before the range does: size=" +
                             std::to_string(object_size) + "; index the data set again");
}

Result<std::string> read_all(ObjectStore& store, const std::string& key, ByteRange range,
                             const std::string& if_match, std::stop_token stop) {
  std::string content(range.size(), '\0');
  if (range.empty()) return content;
  auto answer = std::make_shared<Answer<ReadOutcome>>();
  ReadRequest request;
  request.key = key;
  request.range = range;
  request.if_match = if_match;
  request.dst = {std::as_writable_bytes(std::span(content))};
  store.read(std::move(request), [answer](ReadOutcome outcome) { answer->set(std::move(outcome)); },
             std::move(stop));
  HR_TRY(answer->wait().status);
  return content;
}

Result<std::string> read_object(ObjectStore& store, const ObjectMeta& meta, std::stop_token stop) {
  std::string found_before;
  for (;;) {
    HR_TRY_ASSIGN(std::string content, read_all(store, meta.key, {0, meta.size}, meta.etag, stop));
    ContentCheck check(meta.checksum);
    check.update(as_bytes(content));
    const Status status = check.finish();
    if (status.ok()) return content;
    if (found_before.empty()) {
      found_before = check.found();
      continue;
    }
    if (!check.certain() && check.found() == found_before) return content;  // it was no checksum
    return status.with_context("read " + describe(store, meta.key, {0, meta.size}));
  }
}

Result<ObjectMeta> head_now(ObjectStore& store, const std::string& key, std::stop_token stop) {
  auto answer = std::make_shared<Answer<Result<ObjectMeta>>>();
  store.head(key, [answer](Result<ObjectMeta> meta) { answer->set(std::move(meta)); }, std::move(stop));
  return answer->wait();
}

Result<ListPage> list_page_now(ObjectStore& store, ListRequest request, std::stop_token stop) {
  auto answer = std::make_shared<Answer<Result<ListPage>>>();
  store.list(std::move(request), [answer](Result<ListPage> page) { answer->set(std::move(page)); }, std::move(stop));
  return answer->wait();
}

Result<EditReply> edit_now(ObjectStore& store, EditRequest request, std::stop_token stop) {
  auto answer = std::make_shared<Answer<Result<EditReply>>>();
  store.edit(std::move(request), [answer](Result<EditReply> reply) { answer->set(std::move(reply)); }, std::move(stop));
  return answer->wait();
}

Result<ObjectMeta> put_now(ObjectStore& store, PutRequest request, std::stop_token stop) {
  auto answer = std::make_shared<Answer<Result<ObjectMeta>>>();
  store.put(std::move(request), [answer](Result<ObjectMeta> meta) { answer->set(std::move(meta)); },
            std::move(stop));
  return answer->wait();
}

}  // namespace headrace
