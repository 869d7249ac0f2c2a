// SPDX-License-Identifier: Apache-2.0
#include "network.h"

#include <algorithm>

#include "base/hash.h"
#include "store/scatter.h"

namespace headrace::sim {

void Network::set(const std::string& key, std::shared_ptr<const std::string> content) {
  const std::string etag = hash128(as_bytes(*content)).hex();
  objects_[key] = {std::move(content), etag};
}

const Network::Object* Network::find(const std::string& key) const {
  const auto it = objects_.find(key);
  return it == objects_.end() ? nullptr : &it->second;
}

TimePoint Network::answer_at(TimePoint now, uint64_t bytes) {
  TimePoint when = now;
  if (spec_.bytes_per_s > 0) {
    const Nanos body(static_cast<int64_t>(static_cast<double>(bytes) / spec_.bytes_per_s * 1e9));
    when = link_free_at_ = std::max(now, link_free_at_) + body;
  }
  return when + Nanos(static_cast<int64_t>(draw_.below(static_cast<uint64_t>(spec_.jitter.count()) + 1)));
}

bool Network::too_many(TimePoint now) {
  if (spec_.requests_per_s == 0) return false;
  const int64_t second = now.time_since_epoch() / std::chrono::seconds(1);
  if (second != second_) in_second_ = 0;
  second_ = second;
  return ++in_second_ > spec_.requests_per_s;
}

void ReadOnlyStore::head(std::string, Completion<ObjectMeta>, std::stop_token) { HR_ASSERT(false); }
void ReadOnlyStore::list(ListRequest, Completion<ListPage>, std::stop_token) { HR_ASSERT(false); }
void ReadOnlyStore::put(PutRequest, Completion<ObjectMeta>, std::stop_token) { HR_ASSERT(false); }

ReadOutcome ProcessLink::answer(const ReadRequest& request, const std::stop_token& stop) const {
  ReadOutcome outcome;
  const std::string what = "read " + describe(*this, request.key, request.range);
  const Network::Object* object = network_.find(request.key);
  if (stop.stop_requested()) {
    outcome.status = cancelled(what + ": stopped");
  } else if (object == nullptr) {
    outcome.status = not_found(what + ": no such object");
  } else if (!request.if_match.empty() && request.if_match != object->etag) {
    outcome.status = object_changed(what, request.if_match, object->etag);
  } else if (request.range.end > object->content->size()) {
    outcome.status = object_too_short(what, object->content->size());
  } else {
    scatter_copy(request.dst, as_bytes(*object->content).subspan(request.range.begin, request.range.size()));
    outcome.bytes = request.range.size();
    outcome.etag = object->etag;
    outcome.object_size = object->content->size();
  }
  return outcome;
}

void ProcessLink::read(ReadRequest request, UniqueFunction<void(ReadOutcome)> done, std::stop_token stop) {
  HR_ASSERT(!request.range.empty() && scatter_bytes(request.dst) == request.range.size());
  const TimePoint now = executor().clock().now();
  if (network_.too_many(now)) {
    ReadOutcome outcome;
    outcome.status = throttled("read " + describe(*this, request.key, request.range) + ": slow down");
    outcome.retryable = outcome.throttled = true;
    outcome.retry_after = std::chrono::seconds(1);
    executor().post([done = std::move(done), outcome = std::move(outcome)]() mutable { done(std::move(outcome)); });
    return;
  }
  executor().post_at(network_.answer_at(now, request.range.size()),
                     [this, request = std::move(request), done = std::move(done), stop = std::move(stop)]() mutable {
                       done(answer(request, stop));
                     });
}

void FirstStop::read(ReadRequest request, UniqueFunction<void(ReadOutcome)> done, std::stop_token stop) {
  ++reads;
  bytes += request.range.size();
  if (!hook_) hook_.emplace(stop, on_stop_);
  inner_->read(std::move(request), std::move(done), std::move(stop));
}

}  // namespace headrace::sim
