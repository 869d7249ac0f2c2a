// SPDX-License-Identifier: Apache-2.0
//
// What `headrace probe` reads from: any objects under the URLs, whatever their format. One listing (its first pages), or
// a question for each of some of the named objects; no index.
#include <algorithm>
#include <future>
#include <utility>

#include "loader/open_store.h"
#include "loader/range_probe.h"

namespace headrace {
namespace {

struct Found {
  std::vector<ProbeTarget> targets;
  bool has_more = false;
};

template <class T, class Start>
std::future<Result<T>> ask(Start start) {
  auto promise = std::make_shared<std::promise<Result<T>>>();
  auto future = promise->get_future();
  start([promise](Result<T> answer) { promise->set_value(std::move(answer)); });
  return future;
}

bool hidden(const std::string& key) { return key.starts_with('.') || key.find("/.") != std::string::npos; }

void add(Found& found, ObjectMeta object) {
  found.targets.push_back({std::move(object.key), object.size, std::move(object.etag)});
}

// The objects in the folder `key`, else those whose names begin with it; where an object has this very name, that one.
void narrow(std::vector<ProbeTarget>& targets, const std::string& key) {
  const auto keep = [&](auto wanted) {
    if (std::ranges::any_of(targets, wanted)) std::erase_if(targets, std::not_fn(wanted));
  };
  const std::string folder = key.empty() || key.ends_with('/') ? key : key + "/";
  keep([&](const ProbeTarget& t) { return t.key == key || t.key.starts_with(folder); });
  keep([&](const ProbeTarget& t) { return t.key == key; });
}

Result<Found> listed(ObjectStore& store, const std::string& key, std::stop_token stop) {
  Found found;
  ListRequest request;
  request.prefix = key;
  for (;;) {
    HR_TRY_ASSIGN(ListPage page, ask<ListPage>([&](auto done) { store.list(request, std::move(done), stop); }).get());
    for (ObjectMeta& object : page.objects) {
      if (object.size > 0 && (!hidden(object.key) || object.key == key)) add(found, std::move(object));
    }
    if (page.continuation.empty()) break;
    if (found.targets.size() >= RangeProbe::kListedMax || page.continuation == request.continuation) {
      found.has_more = true;
      break;
    }
    request.continuation = page.continuation;
  }
  narrow(found.targets, key);
  return found;
}

// Objects that are named one by one, or lie where nothing can be listed.
Result<Found> asked(ObjectStore& store, const std::vector<std::string>& keys, std::stop_token stop) {
  const size_t count = std::min(keys.size(), RangeProbe::kAskedMax);
  std::vector<std::future<Result<ObjectMeta>>> answers;
  for (size_t i = 0; i < count; ++i) {
    const std::string& key = keys[i * keys.size() / count];
    answers.push_back(ask<ObjectMeta>([&](auto done) { store.head(key, std::move(done), stop); }));
  }
  Found found;
  found.has_more = count < keys.size();
  Status failure;
  for (auto& answer : answers) {
    Result<ObjectMeta> object = answer.get();
    if (!object.ok()) failure = object.status();
    else if (object->size > 0) add(found, *std::move(object));
  }
  if (!failure.ok()) return failure;
  return found;
}

Result<Found> find(ObjectStore& store, const std::vector<std::string>& keys, std::stop_token stop) {
  if (keys.size() > 1) return asked(store, keys, stop);
  auto found = listed(store, keys[0], stop);
  const Code code = found.ok() ? Code::kOk : found.status().code();
  // A plain server has no listings, and a key may be read where its bucket may not be listed.
  const bool no_list = code == Code::kUnsupported || (code == Code::kPermission && !keys[0].empty() &&
                                                      !keys[0].ends_with('/'));
  if (!no_list) return found;
  auto one = asked(store, keys, stop);
  return one.ok() || code == Code::kUnsupported ? std::move(one) : std::move(found);
}

}  // namespace

Result<std::unique_ptr<RangeProbe>> RangeProbe::open(const std::vector<std::string>& urls, StoreOptions options,
                                                     std::stop_token stop) {
  if (urls.empty()) return invalid_argument("probe: no URL");
  std::vector<std::string> keys;
  DataUrl first;
  for (const std::string& text : urls) {
    HR_TRY_ASSIGN(DataUrl url, parse_data_url(text));
    if (keys.empty()) first = url;
    if (url.store_text() != first.store_text()) {
      return invalid_argument("probe " + urls[0] + " and " + text + ": lie in different stores; probe one at a time");
    }
    keys.push_back(url.key);
  }
  const auto runtime = Runtime::shared();
  HR_TRY_ASSIGN(const OpenedStore finder, open_store(first, options, runtime));
  HR_TRY_ASSIGN(Found found, find(*finder.store, keys, stop));
  if (found.targets.empty()) {
    return not_found("probe " + first.text() + ": nothing to read there: no object with this prefix, or all are empty; "
                     "look with `aws s3 ls` what lies in " + first.store_text());
  }
  // What is measured is an attempt, not a request with its retries.
  options.attempts_max = 1;
  HR_TRY_ASSIGN(OpenedStore measured, open_store(first, options, runtime));
  const uint32_t loops = first.scheme == "file" ? 0 : static_cast<uint32_t>(runtime->loops());
  auto probe = std::make_unique<RangeProbe>(std::move(measured.store), std::move(found.targets), loops);
  probe->has_more_ = found.has_more;
  return probe;
}

}  // namespace headrace
