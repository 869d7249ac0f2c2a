// SPDX-License-Identifier: Apache-2.0
#include "cache/kept_objects.h"

#include <algorithm>

#include "store/scatter.h"

namespace headrace {

struct KeptObjects::Reader {
  struct Fire {
    std::weak_ptr<Reader> reader;
    TimedExecutor* executor;
    std::string what;
    void operator()() const {
      executor->post([weak = reader, text = what] {
        auto self = weak.lock();
        if (!self || !self->done) return;
        ReadOutcome outcome;
        outcome.status = cancelled(text + ": stopped");
        self->on_stop.reset();
        std::exchange(self->done, nullptr)(std::move(outcome), {});
      });
    }
  };
  Object* object = nullptr;
  ReadRequest request;
  bool may_borrow = false;
  Done done;  // empty once answered or passed on
  std::stop_token stop;
  size_t missing = 0;  // ranges
  std::optional<std::stop_callback<Fire>> on_stop;
};

KeptObjects::KeptObjects(const std::shared_ptr<ObjectStore>& inner, std::shared_ptr<BufferSource> buffers,
                         KeepOptions options)
    : inner_(inner), name_(inner->name()), executor_(inner->executor()), buffers_(std::move(buffers)),
      options_(options) {
  HR_ASSERT(options_.range_bytes > 0 && options_.loads_max > 0);
}

bool KeptObjects::reserve(const std::vector<ObjectMeta>& objects) {
  for (const ObjectMeta& meta : objects) {
    auto object = std::make_unique<Object>();
    object->meta = meta;
    object->etag = meta.etag;
    for (uint64_t at = 0; at < meta.size;) {
      Range range;
      range.bytes = {at, at + std::min(options_.range_bytes, meta.size - at)};
      range.memory = take(range.bytes.size());
      if (!range.memory) return false;  // what was taken goes with this
      bytes_held_ += range.memory->buffer.charged();
      at = range.bytes.end;
      object->ranges.push_back(std::move(range));
    }
    by_key_.emplace(meta.key, object.get());
    objects_.push_back(std::move(object));
  }
  return true;
}

std::shared_ptr<const KeptObjects::Memory> KeptObjects::take(uint64_t bytes) const {
  Buffer buffer = buffers_->take(bytes);
  if (!buffer) return nullptr;
  return std::make_shared<const Memory>(Memory{buffers_, std::move(buffer)});
}

KeptObjects::Object* KeptObjects::find(const ReadRequest& request) {
  const auto it = by_key_.find(request.key);
  if (it == by_key_.end()) return nullptr;
  const ObjectMeta& meta = it->second->meta;
  const bool same = request.if_match == meta.etag && request.version_id == meta.version_id;
  return same && request.range.end <= meta.size ? it->second : nullptr;
}

bool KeptObjects::all_here(const Object& object, ByteRange bytes) const {
  for (size_t i = index_of(bytes.begin); i <= index_of(bytes.end - 1); ++i) {
    if (object.ranges[i].state != Range::State::kHere) return false;
  }
  return true;
}

void KeptObjects::read(ReadRequest request, bool may_borrow, Done done, std::stop_token stop) {
  if (stop.stop_requested()) {
    ReadOutcome outcome;
    outcome.status = cancelled("read " + name_ + "/" + request.key + " bytes " + request.range.text() + ": stopped");
    return done(std::move(outcome), {});
  }
  Object* object = find(request);
  if (object != nullptr && request.fresh) distrust(*object, request.range);
  // A waiting read could miss its deadline; the store below knows how to keep it.
  const bool may_wait = object != nullptr && object->kept && request.deadline.at == Deadline::none().at;
  if (object == nullptr || request.fresh || !(may_wait || all_here(*object, request.range))) {
    return pass_on(std::move(request), std::move(done), std::move(stop));
  }
  if (all_here(*object, request.range)) return serve(*object, request, may_borrow, std::move(done));
  auto reader = std::make_shared<Reader>();
  reader->object = object;
  reader->request = std::move(request);
  reader->may_borrow = may_borrow;
  reader->done = std::move(done);
  reader->stop = std::move(stop);
  wait(*object, std::move(reader));
  load();
}

// Bytes that somebody found wrong: loaded anew when next asked for.
void KeptObjects::distrust(Object& object, ByteRange bytes) {
  for (size_t i = index_of(bytes.begin); i <= index_of(bytes.end - 1); ++i) {
    if (object.ranges[i].state == Range::State::kHere) object.ranges[i].state = Range::State::kAbsent;
  }
}

void KeptObjects::wait(Object& object, std::shared_ptr<Reader> reader) {
  const ByteRange bytes = reader->request.range;
  for (size_t i = index_of(bytes.begin); i <= index_of(bytes.end - 1); ++i) {
    Range& range = object.ranges[i];
    if (range.state == Range::State::kHere) continue;
    ++reader->missing;
    range.readers.push_back(reader);
    if (range.state == Range::State::kAbsent) {
      range.state = Range::State::kWanted;
      wanted_.push_back({&object, i});
    }
  }
  if (!object.touched) {
    object.touched = true;
    filling_.push_back(&object);
  }
  if (reader->stop.stop_possible()) {
    const std::string what = "read " + name_ + "/" + object.meta.key + " bytes " + bytes.text();
    reader->on_stop.emplace(reader->stop, Reader::Fire{reader, &executor_, what});
  }
}

void KeptObjects::serve(Object& object, const ReadRequest& request, bool may_borrow, Done done) const {
  const size_t first = index_of(request.range.begin), last = index_of(request.range.end - 1);
  ReadOutcome outcome;
  outcome.bytes = request.range.size();
  outcome.etag = object.etag;
  outcome.object_size = object.meta.size;
  LentBytes lent;
  if (may_borrow && first == last) {
    Range& range = object.ranges[first];
    range.lent = true;
    const Bytes all = range.memory->buffer.bytes();
    lent = {all.subspan(request.range.begin - range.bytes.begin, request.range.size()), range.memory};
  } else {
    copy(object, request, first, last);
  }
  done(std::move(outcome), std::move(lent));
}

void KeptObjects::copy(const Object& object, const ReadRequest& request, size_t first, size_t last) {
  for (size_t i = first; i <= last; ++i) {
    const Range& range = object.ranges[i];
    const uint64_t begin = std::max(request.range.begin, range.bytes.begin);
    const uint64_t end = std::min(request.range.end, range.bytes.end);
    const Bytes from = Bytes(range.memory->buffer.bytes()).subspan(begin - range.bytes.begin, end - begin);
    if (from.size() == request.range.size()) {
      scatter_copy(request.dst, from);
    } else {
      scatter_copy(scatter_slice(request.dst, begin - request.range.begin, from.size()), from);
    }
  }
}

// All that the reader waited for was answered; passed on when not all of it is there after all.
void KeptObjects::finish(const std::shared_ptr<Reader>& reader) {
  if (!reader->done) return;
  if (all_here(*reader->object, reader->request.range)) {
    reader->on_stop.reset();
    return serve(*reader->object, reader->request, reader->may_borrow, std::exchange(reader->done, nullptr));
  }
  reader->on_stop.reset();
  pass_on(std::move(reader->request), std::exchange(reader->done, nullptr), std::move(reader->stop));
}

void KeptObjects::pass_on(ReadRequest request, Done done, std::stop_token stop) {
  if (auto inner = inner_.lock()) {
    bytes_asked_ += request.range.size();
    return inner->read(
        std::move(request),
        [done = std::move(done)](ReadOutcome outcome) mutable { done(std::move(outcome), {}); }, std::move(stop));
  }
  ReadOutcome outcome;
  outcome.status =
      cancelled("read " + name_ + "/" + request.key + " bytes " + request.range.text() + ": the store is gone");
  done(std::move(outcome), {});
}

void KeptObjects::load() {
  while (loads_ < options_.loads_max && !stop_.stop_requested()) {
    const std::optional<Place> place = next_load();
    if (!place) return;
    ask(*place);
  }
}

// What a read waits for, the oldest first; else the rest of the objects that were touched, in that order.
std::optional<KeptObjects::Place> KeptObjects::next_load() {
  while (!wanted_.empty()) {
    const Place place = wanted_.front();
    wanted_.pop_front();
    if (place.object->ranges[place.range].state == Range::State::kWanted) return place;
  }
  while (!filling_.empty()) {
    Object& object = *filling_.front();
    while (object.kept && object.next_fill < object.ranges.size()) {
      const size_t i = object.next_fill++;
      if (object.ranges[i].state == Range::State::kAbsent) return Place{&object, i};
    }
    filling_.pop_front();
  }
  return std::nullopt;
}

// Not into memory that somebody has borrowed. False: there is none instead.
bool KeptObjects::may_write(Range& range) const {
  if (!range.lent) return true;
  std::shared_ptr<const Memory> other = take(range.bytes.size());
  if (!other) return false;
  range.memory = std::move(other);
  range.lent = false;
  return true;
}

void KeptObjects::ask(Place place) {
  auto inner = inner_.lock();
  if (!inner || !gate_.enter()) return;
  Object& object = *place.object;
  Range& range = object.ranges[place.range];
  if (!may_write(range)) {
    keep_no_more(object);
    gate_.leave();
    return;
  }
  range.state = Range::State::kAsked;
  ++loads_;
  bytes_asked_ += range.bytes.size();
  ReadRequest request;
  request.key = object.meta.key;
  request.range = range.bytes;
  request.object_size = object.meta.size;
  request.if_match = object.meta.etag;
  request.version_id = object.meta.version_id;
  request.dst = {range.memory->buffer.bytes()};
  inner->read(
      std::move(request),
      [self = shared_from_this(), place](ReadOutcome outcome) mutable {
        // A store with several loops answers on the request's own: come home first.
        KeptObjects& home = *self;
        home.executor_.post([self = std::move(self), place, outcome = std::move(outcome)]() mutable {
          self->on_answer(place, std::move(outcome));
        });
      },
      stop_.get_token());
}

void KeptObjects::on_answer(Place place, ReadOutcome outcome) {
  Object& object = *place.object;
  Range& range = object.ranges[place.range];
  --loads_;
  if (outcome.status.ok() && object.etag.empty()) object.etag = outcome.etag;
  if (outcome.status.ok() && outcome.etag != object.etag) {
    // Nothing pins the version, and the object changed under us: its ranges do not belong together.
    outcome.status = object_changed("keep " + name_ + "/" + object.meta.key, object.etag, outcome.etag);
  }
  range.state = outcome.status.ok() ? Range::State::kHere : Range::State::kAbsent;
  const std::vector<std::shared_ptr<Reader>> readers = std::exchange(range.readers, {});
  for (const auto& reader : readers) {
    if (range.state != Range::State::kHere || --reader->missing == 0) finish(reader);
  }
  if (!outcome.status.ok()) on_failure(object, outcome);
  if (!object.kept) free(range);
  load();
  gate_.leave();
}

// Readers go on by themselves; what nobody asked for is not asked for again before somebody does.
void KeptObjects::on_failure(Object& object, const ReadOutcome& outcome) {
  if (stop_.stop_requested()) return;
  object.next_fill = object.ranges.size();
  if (++object.failures >= options_.failures_max || !outcome.retryable) keep_no_more(object);
}

void KeptObjects::stop() {
  if (!stop_.request_stop() || !gate_.enter()) return;
  executor_.post([self = shared_from_this()] {
    for (const auto& object : self->objects_) self->keep_no_more(*object);
    self->gate_.leave();
  });
}

void KeptObjects::drop(uint64_t bytes) {
  uint64_t freed = 0;
  for (auto it = objects_.rbegin(); it != objects_.rend() && freed < bytes; ++it) {
    if ((*it)->kept) freed += keep_no_more(**it);
  }
}

// Frees what no load writes to; on_answer() frees the rest. Returns the bytes freed.
uint64_t KeptObjects::keep_no_more(Object& object) {
  object.kept = false;
  uint64_t freed = 0;
  std::vector<std::shared_ptr<Reader>> readers;
  for (Range& range : object.ranges) {
    if (range.state == Range::State::kAsked) continue;
    readers.insert(readers.end(), range.readers.begin(), range.readers.end());
    range.readers.clear();
    freed += free(range);
  }
  for (const auto& reader : readers) finish(reader);
  return freed;
}

uint64_t KeptObjects::free(Range& range) {
  range.state = Range::State::kAbsent;
  if (!range.memory) return 0;
  const uint64_t charged = range.memory->buffer.charged();  // lent memory is free when it is given back
  range.memory = nullptr;
  range.lent = false;
  bytes_held_ -= charged;
  return charged;
}

}  // namespace headrace
