// SPDX-License-Identifier: Apache-2.0
//
// Reading ahead, decoding, and what happens when memory is short.
#include <algorithm>
#include <string>

#include "fetch/stream_engine.h"
#include "store/ask_checksum.h"
#include "sys/failpoint.h"

namespace headrace {
namespace {

std::string number(uint64_t n) { return std::to_string(n); }

// How long nothing is read ahead after another claimant asked for memory, and how often a blocked engine looks again
// although no release was seen. Both short against a batch and long against a release.
constexpr Nanos kYield = std::chrono::milliseconds(20);
// A worker that found no memory is not asked again before there are so many bytes.
constexpr uint64_t kSmallest = 64 << 10;
// Looks without any change until that is an error: 5 s in which nobody else gave memory back.
constexpr uint32_t kStuckMax = 250;

}  // namespace

bool StreamEngine::has_headroom(uint64_t bytes) const {
  return deps_.budget->used() + options_.headroom_bytes + options_.spare_bytes + bytes <= deps_.budget->bytes_max();
}

// While a shard is read again nothing is taken out of the slots: what follows what was read before goes in beyond them.
uint64_t StreamEngine::room(const Stream& stream) const {
  return std::max<uint64_t>(stream.shuffle.room(options_.samples_ahead), stream.doubted ? 1 : 0);
}

// One chunk for each stream in turn, so that all of them begin at once.
void StreamEngine::read_ahead() {
  bool more = true;
  for (uint64_t round = 0; more && round < options_.chunks_ahead; ++round) {
    more = false;
    for (size_t k = 0; k < streams_.size(); ++k) {
      if (in_flight_ >= options_.requests_max) return;
      Stream& stream = *streams_[k];
      if (stream.reader->chunks() <= round && read_next(stream)) more = true;
    }
  }
}

// False: not now.
bool StreamEngine::read_next(Stream& stream) {
  if (stream.reader->over()) return false;
  const uint64_t bytes = stream.reader->next_bytes();
  if (bytes == 0) {
    // The end of an epoch costs nothing, but without a limit an empty data set would have no end of them.
    if (stream.reader->chunks() >= options_.chunks_ahead) return false;
    stream.reader->next_chunk({});
    start_work();
    return true;
  }
  const bool needed = stream.reader->chunks() == 0 && room(stream) > 0;
  const bool yields = executor_.clock().now() < yield_until_;
  if (!needed && (yields || !has_headroom(bytes))) return false;
  Buffer buffer = deps_.buffers->take(bytes);
  if (!buffer) {
    blocked_ = blocked_ || needed;
    return false;
  }
  send(stream, stream.reader->next_chunk(std::move(buffer)));
  return true;
}

void StreamEngine::send(Stream& stream, std::shared_ptr<StreamChunk> chunk) {
  if (!gate_->enter()) return;
  ++in_flight_;
  metrics_.in_flight = in_flight_;
  if (in_flight_ > metrics_.in_flight_max) metrics_.in_flight_max = in_flight_;
  metrics_.parts.add();
  metrics_.bytes.add(chunk->range.size());
  const ShardEntry& shard = source_.index->shards()[chunk->shard];
  ReadRequest request;
  request.key = source_.key_prefix + shard.key;
  request.range = chunk->range;
  request.object_size = shard.size;
  if (source_.pin_versions) {
    request.if_match = shard.etag;
    request.version_id = shard.version_id;
  }
  request.dst = {chunk->buffer.bytes()};
  request.lane = reinterpret_cast<uintptr_t>(this);
  request.fresh = chunk->fresh;
  if (spare_) request.spare = std::make_shared<RangeSpare>(spare_);
  if (chunk->range.begin == 0 && !chunk->fresh) ask_stored(stream, chunk);
  source_.store->read(
      std::move(request),
      [self = shared_from_this(), &stream, chunk = std::move(chunk)](ReadOutcome outcome) mutable {
        StreamEngine& engine = *self;  // a store with several loops answers on the request's own: come home first
        engine.executor_.post(
            [self = std::move(self), &stream, chunk = std::move(chunk), status = std::move(outcome.status)]() mutable {
              self->on_read(stream, chunk, std::move(status));
            });
      },
      stop_.get_token());
}

// What the store knows of the shard, beside its first range; once a pass.
void StreamEngine::ask_stored(Stream& stream, const std::shared_ptr<StreamChunk>& chunk) {
  if (!options_.check_objects || !source_.pin_versions) return;
  if (const auto found = stored_.find(chunk->shard); found != stored_.end()) {
    const bool doubtful = found->second && !found->second->certain;
    if (!doubtful || !*input_->doubtful_are_none) chunk->stored = found->second;
    return;
  }
  if (!gate_->enter()) return;
  ++in_flight_;
  ++chunk->waits;
  const ShardEntry& shard = source_.index->shards()[chunk->shard];
  ask_checksum(
      *source_.store, source_.key_prefix + shard.key, shard.etag, shard.size,
      [self = shared_from_this(), &stream, chunk](std::shared_ptr<const StoredChecksum> known) mutable {
        StreamEngine& engine = *self;
        engine.executor_.post([self = std::move(self), &stream, chunk, known = std::move(known)]() mutable {
          self->on_stored(stream, chunk, std::move(known));
        });
      },
      stop_.get_token());
}

void StreamEngine::on_stored(Stream& stream, const std::shared_ptr<StreamChunk>& chunk,
                             std::shared_ptr<const StoredChecksum> known) {
  --in_flight_;
  metrics_.in_flight = in_flight_;
  if (known && !options_.check_slow && !is_cheap(*known)) known = nullptr;
  stored_.insert_or_assign(chunk->shard, known);
  chunk->stored = std::move(known);
  if (ended_ || closed_) {
    forget();
  } else {
    stream.reader->arrived(chunk);
    pump();
  }
  gate_->leave();
}

void StreamEngine::on_read(Stream& stream, const std::shared_ptr<StreamChunk>& chunk, Status status) {
  --in_flight_;
  metrics_.in_flight = in_flight_;
  if (status.ok()) status = HR_FAILPOINT("fetch.read");
  stuck_ = 0;
  if (ended_ || closed_) {
    forget();
  } else if (!status.ok()) {
    end(std::move(status));
  } else {
    stream.reader->arrived(chunk);
    pump();
  }
  gate_->leave();
}

void StreamEngine::start_work() {
  for (const auto& owned : streams_) {
    Stream& stream = *owned;
    const uint64_t room = this->room(stream);
    if (room == 0 || !stream.reader->has_work()) continue;
    if (stream.starved && !has_headroom(kSmallest)) continue;
    if (!gate_->enter()) return;
    ++working_;
    stream.reader->begin_work();
    deps_.workers->post([self = shared_from_this(), &stream, room]() mutable {
      StreamReader::Work work = stream.reader->work(room);
      if (self->options_.on_indexed) {
        for (auto& [shard, index] : work.indexed) self->options_.on_indexed(shard, std::move(index));
      }
      StreamEngine& engine = *self;
      engine.executor_.post([self = std::move(self), &stream, work = std::move(work)]() mutable {
        self->on_worked(stream, std::move(work));
      });
    });
  }
}

void StreamEngine::on_worked(Stream& stream, StreamReader::Work work) {
  --working_;
  stream.reader->end_work();
  stream.starved = work.no_memory;
  if (!work.no_memory || !work.items.empty()) stuck_ = 0;
  if (ended_ || closed_) {
    work = {};
    forget();
  } else {
    Status status = take_work(stream, work);
    if (status.ok()) {
      pump();
    } else {
      emit();  // what was there before the damage is still delivered
      end(std::move(status));
    }
  }
  gate_->leave();
}

Status StreamEngine::take_work(Stream& stream, StreamReader::Work& work) {
  for (StreamPoint& point : work.points) stream.shuffle.push(std::move(point));
  for (StreamItem& item : work.items) HR_TRY(stream.shuffle.push(std::move(item)));
  for (StreamItem& item : work.mended) {
    const std::string row = number(item.sample.row);
    const uint64_t shard = item.sample.piece->shard;
    if (stream.shuffle.mend(std::move(item))) continue;
    return corrupt("read " + input_->name_prefix + source_.index->shards()[shard].key + ": sample " + row +
                   " was delivered as other bytes than were stored: they were damaged on the way, and it was too late "
                   "to mend; resume from a state before it");
  }
  if (work.settled) stream.doubted = false;
  if (work.again) {
    metrics_.rereads.add();
    stream.doubted = true;
    const auto [epoch, i] = stream.reader->go_back();
    stream.shuffle.drop_points(epoch, i);
  }
  return std::move(work.status);
}

uint64_t StreamEngine::drop_read_ahead(uint64_t bytes) {
  uint64_t freed = 0;
  for (auto it = streams_.rbegin(); it != streams_.rend() && freed < bytes; ++it) {
    const uint64_t now = (*it)->reader->drop_chunks(bytes - freed);
    if (now > 0) metrics_.evicted.add();
    freed += now;
  }
  return freed;
}

void StreamEngine::give_back(uint64_t bytes) {
  executor_.post([self = shared_from_this(), bytes] {
    if (self->closed_ || self->ended_) return;
    self->yield_until_ = self->executor_.clock().now() + kYield;
    self->drop_read_ahead(bytes);
    self->executor_.post_at(self->yield_until_, [weak = self->weak_from_this()] {
      if (auto engine = weak.lock()) engine->post_pump();
    });
  });
}

// The consumer waits, and nothing is under way: some stream found no memory for what it needs.
void StreamEngine::check_stuck() {
  bool starved = blocked_;
  for (const auto& stream : streams_) starved = starved || stream->starved;
  blocked_ = starved;
  if (!starved || ended_ || credits_ == 0 || in_flight_ > 0 || working_ > 0) return;
  if (downstream_ > 0) return;  // memory comes back when the consumer takes what it has
  if (retry_posted_) return;
  retry_posted_ = true;
  if (drop_read_ahead(options_.chunk_bytes) == 0) deps_.budget->shortfall(listener_, options_.chunk_bytes);
  if (++stuck_ > kStuckMax) {
    uint64_t held = 0;
    for (const auto& stream : streams_) held += stream->shuffle.samples_held();
    return end(exhausted("read " + number(streams_.size()) + " streams of " + source_.store->name() + "/" +
                         source_.key_prefix + ": " + deps_.budget->name() + " of " + number(deps_.budget->bytes_max()) +
                         " bytes is full with " + number(held) + " of " + number(streams_.size() * job_.spec.slots) +
                         " samples that the slots would hold; raise memory= or begin a new job with fewer slots="));
  }
  executor_.post_at(executor_.clock().now() + kYield, [weak = weak_from_this()] {
    if (auto self = weak.lock()) {
      self->retry_posted_ = false;
      for (const auto& stream : self->streams_) stream->starved = false;
      self->post_pump();
    }
  });
}

}  // namespace headrace
