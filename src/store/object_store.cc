// SPDX-License-Identifier: Apache-2.0
#include "store/object_store.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <set>

namespace headrace {
namespace {

// A listing of nothing but empty pages never ends by itself; S3 gives a few after mass deletions.
constexpr uint32_t kEmptyPagesMax = 1000;

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

void sort_by_key(std::vector<ObjectMeta>& objects) {
  const auto before = [](const ObjectMeta& a, const ObjectMeta& b) { return a.key < b.key; };
  const auto same = [](const ObjectMeta& a, const ObjectMeta& b) { return a.key == b.key; };
  if (!std::is_sorted(objects.begin(), objects.end(), before)) {
    std::stable_sort(objects.begin(), objects.end(), before);
  }
  objects.erase(std::unique(objects.begin(), objects.end(), same), objects.end());
}

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

Result<ObjectMeta> put_now(ObjectStore& store, PutRequest request, std::stop_token stop) {
  auto answer = std::make_shared<Answer<Result<ObjectMeta>>>();
  store.put(std::move(request), [answer](Result<ObjectMeta> meta) { answer->set(std::move(meta)); },
            std::move(stop));
  return answer->wait();
}

Result<std::vector<ObjectMeta>> list_all(ObjectStore& store, const std::string& prefix,
                                         uint64_t objects_max, std::stop_token stop) {
  const std::string what = "list " + store.name() + "/" + prefix;
  std::vector<ObjectMeta> objects;
  std::set<std::string> seen;
  uint32_t empty_pages = 0;
  ListRequest request;
  request.prefix = prefix;
  for (;;) {
    auto answer = std::make_shared<Answer<Result<ListPage>>>();
    store.list(request, [answer](Result<ListPage> page) { answer->set(std::move(page)); }, stop);
    HR_TRY_ASSIGN(ListPage page, answer->wait());
    if (page.objects.size() > objects_max - objects.size()) {
      return exhausted(what + ": more than objects_max=" + std::to_string(objects_max) +
                       " objects; name a longer prefix or raise the limit");
    }
    empty_pages = page.objects.empty() ? empty_pages + 1 : 0;
    std::move(page.objects.begin(), page.objects.end(), std::back_inserter(objects));
    if (page.continuation.empty()) break;
    if (empty_pages > kEmptyPagesMax || !seen.insert(page.continuation).second) {
      return corrupt(what + ": the listing does not end: " +
                     (empty_pages > kEmptyPagesMax ? "empty pages=" + std::to_string(empty_pages)
                                                   : "continuation token came twice after pages=" +
                                                         std::to_string(seen.size())) +
                     "; the store's ListObjectsV2 is broken");
    }
    request.continuation = std::move(page.continuation);
  }
  sort_by_key(objects);
  return objects;
}

}  // namespace headrace
