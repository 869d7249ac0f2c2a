// SPDX-License-Identifier: Apache-2.0
#include "mount/read_cache.h"

#include <algorithm>

#include "store/read_spare.h"

namespace headrace::mount {
namespace {

// Whose requests take turns where the endpoint is busy (store/admission.h): a waiting reader's come before what is
// only expected to be wanted.
enum Lane : uint64_t { kLaneDemand = 1, kLaneAhead = 2, kLanePlan = 3 };

// A share of the budget for the windows of sequential readers; the rest is for what they have not read yet of others.
constexpr uint64_t kWindowShare = 2;
// Memory may come free without a word (a reply that was sent): look again after this.
constexpr auto kRoomPoll = std::chrono::milliseconds(20);

// Memory for a late read's second answer. Nothing can tell good bytes of an object from bad ones, so all are good.
class Spare final : public ReadSpare {
 public:
  Spare(std::shared_ptr<BufferSource> buffers, std::shared_ptr<ObjectStore> store)
      : buffers_(std::move(buffers)), store_(std::move(store)) {}

  std::shared_ptr<const MutableBytes> take(uint64_t bytes) override {
    auto held = std::make_shared<Held>();
    held->source = buffers_;
    held->buffer = buffers_->take(bytes);
    if (!held->buffer) return nullptr;
    held->bytes = held->buffer.bytes();
    return {held, &held->bytes};
  }
  void verify(ByteRange, std::vector<MutableBytes>, UniqueFunction<void(bool)> done) override {
    store_->executor().post([done = std::move(done)]() mutable { done(true); });
  }

 private:
  struct Held {
    std::shared_ptr<BufferSource> source;
    Buffer buffer;
    MutableBytes bytes;
  };
  const std::shared_ptr<BufferSource> buffers_;
  const std::shared_ptr<ObjectStore> store_;
};

}  // namespace

CachedFile::CachedFile(ReadCache& cache, std::string key, std::string etag, uint64_t size,
                       const PatternOptions& pattern)
    : cache_(cache), key_(std::move(key)), etag_(std::move(etag)), size_(size), pattern_(size, pattern) {
  std::lock_guard lock(cache_.mutex_);
  cache_.files_.insert(this);
}

CachedFile::~CachedFile() {
  stop_.request_stop();
  std::unique_lock lock(cache_.mutex_);
  cache_.files_.erase(this);
  while (!pieces_.empty()) cache_.drop(*pieces_.begin()->second);
  cache_.tell_plan(lock);
}

ReadCache::ReadCache(std::shared_ptr<ObjectStore> store, std::shared_ptr<BufferSource> buffers,
                     std::shared_ptr<Budget> budget, MountStats& stats, ReadCacheOptions options)
    : store_(std::move(store)),
      buffers_(std::move(buffers)),
      budget_(std::move(budget)),
      stats_(stats),
      options_(options) {}

ReadCache::~ReadCache() { close(); }

std::shared_ptr<CachedFile> ReadCache::open(std::string key, std::string etag, uint64_t size) {
  return std::make_shared<CachedFile>(*this, std::move(key), std::move(etag), size, options_.pattern);
}

uint64_t ReadCache::window_now() const {
  return budget_->bytes_max() / kWindowShare / std::max<uint64_t>(1, busy_files_);
}

Result<ReadBytes> ReadCache::read(CachedFile& file, ByteRange range) {
  range.end = std::min(range.end, file.size_);
  if (range.begin >= range.end) return ReadBytes{};
  std::unique_lock lock(mutex_);
  file.used_at_ = ++uses_;
  file.read_since_closed_ = true;
  Result<ReadBytes> bytes = read_locked(file, range, lock);
  tell_plan(lock);
  return bytes;
}

Result<ReadBytes> ReadCache::read_locked(CachedFile& file, ByteRange range, std::unique_lock<std::mutex>& lock) {
  const Clock& clock = store_->executor().clock();
  const TimePoint deadline = clock.now() + options_.read_deadline;
  const Advice advice = file.pattern_.on_read(range, window_now());
  for (;;) {
    if (closed_) return cancelled("read " + describe(*store_, file.key_, range) + ": the mount is being taken down");
    Sends sends;
    const Pieces held = pinned(file, range);  // not to be let go of for what is missing
    const bool whole = start_missing(file, advice.need, options_.pattern.chunk_max, Why::kDemand, 0, &sends);
    Pieces pieces;
    if (whole) pieces = pinned(file, range);  // nor these for what is read ahead
    unpin(held);
    if (whole) {
      for (const ByteRange ahead : advice.ahead) {
        if (!start_missing(file, ahead, advice.chunk, Why::kAhead, 0, &sends)) break;
      }
    }
    if (!sends.empty()) {
      lock.unlock();
      send(std::move(sends));
      lock.lock();
    }
    if (whole) {
      HR_TRY(wait_for(file, range, pieces, lock, deadline));
      return collected(range, pieces);
    }
    room_.wait_for(lock, kRoomPoll);
    if (clock.now() >= deadline) {
      return exhausted("read " + describe(*store_, file.key_, range) +
                       ": no memory came free in time: memory_bytes=" + std::to_string(budget_->bytes_max()) +
                       "; mount with a larger --memory, or read fewer files at a time");
    }
  }
}

// The pieces of `range` that are held or on their way; they stay until unpin().
ReadCache::Pieces ReadCache::pinned(CachedFile& file, ByteRange range) {
  Pieces pieces;
  auto it = file.pieces_.upper_bound(range.begin);
  if (it != file.pieces_.begin() && std::prev(it)->second->range.end > range.begin) --it;
  for (; it != file.pieces_.end() && it->first < range.end; ++it) {
    pieces.push_back(it->second);
    ++it->second->pins;
  }
  return pieces;
}

void ReadCache::unpin(const Pieces& pieces) {
  for (const auto& piece : pieces) --piece->pins;
}

// Waits until all have come, then unpins them: nothing is evicted before the lock is let go.
Status ReadCache::wait_for(CachedFile& file, ByteRange range, const Pieces& pieces, std::unique_lock<std::mutex>& lock,
                           TimePoint deadline) {
  const auto is_loading = [](const auto& piece) { return piece->state == Piece::State::kLoading; };
  Status status;
  if (std::ranges::any_of(pieces, is_loading)) stats_.waits.add();
  while (status.ok() && std::ranges::any_of(pieces, is_loading)) {
    const auto left = deadline - store_->executor().clock().now();
    if (left <= Nanos{0}) {
      status = timed_out("read " + describe(*store_, file.key_, range) + ": no answer within " +
                         std::to_string(options_.read_deadline.count() / 1'000'000'000) + " s");
    } else {
      file.changed_.wait_for(lock, left);
    }
  }
  unpin(pieces);
  for (const auto& piece : pieces) {
    if (status.ok() && piece->state == Piece::State::kFailed) status = piece->status;
  }
  return status;
}

ReadBytes ReadCache::collected(ByteRange range, const Pieces& pieces) {
  ReadBytes out;
  for (const auto& piece : pieces) {
    const uint64_t begin = std::max(range.begin, piece->range.begin), end = std::min(range.end, piece->range.end);
    out.parts.push_back(Bytes(piece->buffer.bytes()).subspan(begin - piece->range.begin, end - begin));
    out.keep.push_back(piece);
    out.size += end - begin;
    mark_read(*piece, end);
  }
  HR_ASSERT(out.size == range.size());
  return out;
}

// Starts GETs for what is neither held nor on its way. False: there is no memory for all of it.
bool ReadCache::start_missing(CachedFile& file, ByteRange range, uint64_t chunk, Why why, uint64_t place,
                              Sends* sends) {
  uint64_t at = range.begin;
  while (at < range.end) {
    auto next = file.pieces_.upper_bound(at);
    if (next != file.pieces_.begin()) {
      const Piece& before = *std::prev(next)->second;
      if (before.range.end > at) {
        at = before.range.end;
        continue;
      }
    }
    const uint64_t gap_end = next == file.pieces_.end() ? range.end : std::min(range.end, next->first);
    const uint64_t end = std::min(gap_end, at + chunk);
    // A window that moves by 128 KiB would otherwise be fetched in pieces of 128 KiB.
    if (why == Why::kAhead && end - at < chunk && end == range.end && end != file.size_) return true;
    if (!start_piece(file, {at, end}, why, place, sends)) return false;
    at = end;
  }
  return true;
}

bool ReadCache::start_piece(CachedFile& file, ByteRange range, Why why, uint64_t place, Sends* sends) {
  Buffer buffer = take(range.size(), why);
  if (!buffer) return false;
  auto piece = std::make_shared<Piece>();
  piece->range = range;
  piece->buffer = std::move(buffer);
  piece->file = &file;
  piece->read_to = range.begin;
  piece->plan_place = place;
  if (place != 0) planned_bytes_ += range.size();
  if (file.unread_bytes_ == 0) ++busy_files_;
  file.unread_bytes_ += range.size();
  file.pieces_.emplace(range.begin, piece);
  ReadRequest request;
  request.key = file.key_;
  request.range = range;
  request.if_match = file.etag_;
  request.object_size = file.size_;
  request.dst = {piece->buffer.bytes()};
  // No deadline: others may wait for the piece later, and a disk cache's blocks are everybody's. The reader has his
  // own, and retries end before it (main.cc).
  request.lane = why == Why::kDemand ? kLaneDemand : why == Why::kAhead ? kLaneAhead : kLanePlan;
  if (why != Why::kPlan) request.spare = std::make_shared<Spare>(buffers_, store_);
  sends->push_back({std::move(request), std::move(piece), file.stop_.get_token()});
  return true;
}

void ReadCache::send(Sends sends) {
  {
    std::lock_guard lock(mutex_);
    in_flight_ += sends.size();
  }
  for (Send& one : sends) {
    stats_.fetches.add();
    store_->read(
        std::move(one.request),
        [this, piece = std::move(one.piece)](ReadOutcome outcome) mutable {
          landed(piece, std::move(outcome));
          piece.reset();
          std::lock_guard lock(mutex_);
          --in_flight_;
          room_.notify_all();
        },
        std::move(one.stop));
  }
}

void ReadCache::landed(const std::shared_ptr<Piece>& piece, ReadOutcome outcome) {
  std::unique_lock lock(mutex_);
  if (outcome.status.ok()) {
    stats_.fetched_bytes.add(piece->range.size());
    piece->state = Piece::State::kReady;
  } else {
    piece->state = Piece::State::kFailed;
    piece->status = std::move(outcome.status);
  }
  CachedFile* file = piece->file;
  if (file == nullptr) return;
  if (piece->state == Piece::State::kFailed) {
    drop(*piece);
  } else if (piece->rank == Piece::Rank::kNone) {
    set_rank(*piece, piece->plan_place != 0 ? Piece::Rank::kPlanned : Piece::Rank::kAhead);
  }
  file->changed_.notify_all();
  tell_plan(lock);
}

PlannedFetch ReadCache::fetch_planned(CachedFile& file, uint64_t place, uint64_t bytes_max, uint64_t since) {
  const ByteRange range = {0, std::min(file.size_, bytes_max)};
  PlannedFetch out;
  if (range.empty()) return out;
  Sends sends;
  std::unique_lock lock(mutex_);
  if (closed_) return out;
  out.overtaken = file.used_at_ > std::max(since, file.planned_for_);
  if (out.overtaken) {
    file.planned_for_ = file.used_at_;
    return out;
  }
  // What is there from an earlier reading, or is on its way, is kept for the plan, too.
  for (auto it = file.pieces_.begin(); it != file.pieces_.end() && it->first < range.end; ++it) {
    out.pieces += plan_piece(*it->second, place);
  }
  out.refused = !start_missing(file, range, options_.pattern.chunk_max, Why::kPlan, place, &sends);
  out.pieces += static_cast<uint32_t>(sends.size());
  lock.unlock();
  send(std::move(sends));
  return out;
}

void ReadCache::close() {
  std::unique_lock lock(mutex_);
  closed_ = true;
  room_.notify_all();
  std::vector<std::stop_source> stops;
  for (const CachedFile* file : files_) stops.push_back(file->stop_);
  lock.unlock();
  for (std::stop_source& stop : stops) stop.request_stop();
  lock.lock();
  room_.wait(lock, [this] { return in_flight_ == 0; });
}

}  // namespace headrace::mount
