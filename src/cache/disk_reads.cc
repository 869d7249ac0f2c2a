// SPDX-License-Identifier: Apache-2.0
#include "cache/disk_reads.h"

#include <algorithm>

#include "cache/disk_read.h"
#include "cache/disk_spare.h"
#include "store/scatter.h"

namespace headrace {

DiskReads::DiskReads(const std::shared_ptr<ObjectStore>& inner, std::shared_ptr<DiskCache> cache, Executor& io,
                     std::shared_ptr<BufferSource> buffers, const std::shared_ptr<Budget>& budget,
                     DiskStoreOptions options)
    : inner_(inner), name_(inner->name()), executor_(inner->executor()), cache_(std::move(cache)), io_(io),
      buffers_(std::move(buffers)), options_(std::move(options)),
      spare_(budget ? std::make_shared<DiskSpare>(buffers_, budget, executor_) : nullptr) {
  // Now, before readers fill the memory with what they read ahead.
  while (idle_.size() < options_.buffers_max) {
    Buffer buffer = buffers_->take(kDiskBlockBytes);
    if (!buffer) break;
    idle_.push_back(std::move(buffer));
  }
}

void DiskReads::read(ReadRequest request, UniqueFunction<void(ReadOutcome)> done, std::stop_token stop) {
  HR_ASSERT(!request.range.empty() && scatter_bytes(request.dst) == request.range.size());
  bytes_wanted_ += request.range.size();
  auto read = std::make_shared<Read>();
  read->request = std::move(request);
  read->done = std::move(done);
  read->stop = std::move(stop);
  executor_.post([self = shared_from_this(), read = std::move(read)]() mutable { self->begin(std::move(read)); });
}

// A waiting read could miss its deadline; the store below knows how to keep it.
bool DiskReads::may_cache(const ReadRequest& request) const {
  return !request.if_match.empty() && request.object_size >= request.range.end &&
         request.deadline.at == Deadline::none().at && !stop_.stop_requested();
}

void DiskReads::begin(ReadPtr read) {
  const ReadRequest& request = read->request;
  const bool stopped = read->stop.stop_requested();
  if (stopped || !may_cache(request)) {
    return pass(std::move(read->request), std::exchange(read->done, nullptr), std::move(read->stop));
  }
  read->object = {options_.place, request.key, request.if_match, request.version_id, request.object_size};
  read->folder = read->object.folder_hash();
  read->hash = read->object.hash();
  if (request.fresh) distrust(read);
  if (request.fresh || !cache_->may_read() || !gate_.enter()) {
    if (!request.fresh) cache_->metrics().bypassed.add();
    return pass(std::move(read->request), std::exchange(read->done, nullptr), std::move(read->stop));
  }
  read->parts_disk = 1;
  read->looking = true;
  watch(read);
  if (read->stop.stop_possible()) {
    const auto on_stop = [weak = weak_from_this(), reader = std::weak_ptr(read), &to = executor_] {
      to.post([weak, reader] {
        auto self = weak.lock();
        if (auto held = reader.lock(); self && held) self->abandon(held);
      });
    };
    read->on_stop.emplace(read->stop, StopRead{on_stop});
  }
  io_.post([self = shared_from_this(), read = std::move(read)] { self->look(read); });
}

// The bytes were wrong although their CRCs were right: they came so from the store.
void DiskReads::distrust(const ReadPtr& read) {
  const uint64_t first = read->request.range.begin / kDiskBlockBytes;
  const uint64_t last = (read->request.range.end - 1) / kDiskBlockBytes;
  io_.post([cache = cache_, folder = read->folder, hash = read->hash, first, last] {
    for (uint64_t block = first; block <= last; ++block) cache->distrust({folder, hash, static_cast<uint32_t>(block)});
  });
}

void DiskReads::watch(const ReadPtr& read) {
  read->began = executor_.clock().now();
  watched_.push_back(read);
  if (std::exchange(ticking_, true)) return;
  executor_.post_at(read->began + options_.slow_after, [weak = weak_from_this()] {
    if (auto self = weak.lock()) self->tick();
  });
}

void DiskReads::tick() {
  ticking_ = false;
  const TimePoint now = executor_.clock().now();
  while (!watched_.empty()) {
    const ReadPtr read = watched_.front().lock();
    if (read && read->looking && read->began + options_.slow_after > now) break;
    watched_.pop_front();
    if (!read || !read->looking) continue;
    cache_->on_slow();
    abandon(read);
  }
  if (watched_.empty()) return;
  ticking_ = true;
  executor_.post_at(watched_.front().lock()->began + options_.slow_after, [weak = weak_from_this()] {
    if (auto self = weak.lock()) self->tick();
  });
}

// What is left to do for a read that was answered in part.
void DiskReads::part_done(const ReadPtr& read, bool good) {
  if (read->abandoned) return;  // nobody waits for the disk's parts any more
  read->good = read->good && good;
  if (--read->parts_disk == 0 && read->parts_inner == 0) conclude(read);
}

// The disk is not waited for any longer: stopped, or slow. What went through to the store writes to dst until it ends.
void DiskReads::abandon(const ReadPtr& read) {
  if (read->abandoned || !read->done) return;
  {
    std::lock_guard lock(read->mutex);
    read->abandoned = true;
  }
  read->looking = false;
  if (read->parts_inner == 0) conclude(read);
}

void DiskReads::conclude(const ReadPtr& read) {
  read->on_stop.reset();
  auto done = std::exchange(read->done, nullptr);
  if (read->good && !read->abandoned) {
    ReadOutcome outcome;
    outcome.bytes = read->request.range.size();
    outcome.etag = read->request.if_match;
    outcome.object_size = read->request.object_size;
    done(std::move(outcome));
  } else {
    pass(std::move(read->request), std::move(done), read->stop);
  }
  gate_.leave();
}

void DiskReads::pass(ReadRequest request, UniqueFunction<void(ReadOutcome)> done, std::stop_token stop) {
  if (auto inner = inner_.lock()) {
    bytes_asked_ += request.range.size();
    return inner->read(std::move(request), std::move(done), std::move(stop));
  }
  ReadOutcome outcome;
  outcome.status =
      cancelled("read " + name_ + "/" + request.key + " bytes " + request.range.text() + ": the store is gone");
  done(std::move(outcome));
}

void DiskReads::close() {
  stop_.request_stop();
  if (gate_.enter()) {
    executor_.post([self = shared_from_this()] {
      for (const ReadPtr& read : std::exchange(self->waiting_, {})) {
        for (size_t i = 0; i < read->missing.size(); ++i) self->give_back_room(read, i);
        self->abandon(read);
      }
      self->idle_.clear();
      self->gate_.leave();
    });
  }
  gate_.close();
}

}  // namespace headrace
