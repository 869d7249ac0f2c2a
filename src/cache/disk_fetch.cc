// SPDX-License-Identifier: Apache-2.0
//
// DiskReads: what is on the disk, and how what is not comes to be there. (The life of a read is disk_reads.cc.)
#include <algorithm>

#include "cache/disk_read.h"
#include "store/scatter.h"

namespace headrace {
namespace {

// Blocks of one fetch: 4 MiB, 50 ms of a connection at 80 MB/s after 30 ms to its first byte.
constexpr size_t kLoadBlocksMax = 8;
// A disk that is slower than the store may cost the first epoch half of its time and no more: reads that waited for it
// for one of two seconds go through, and what they read is kept another time.
constexpr Nanos kBoundWindow = std::chrono::seconds(2);
constexpr Nanos kBoundMax = std::chrono::seconds(1);

// A block of this thread's, for reading into before anything is believed.
MutableBytes scratch() {
  thread_local const std::unique_ptr<std::byte[]> memory(new std::byte[kDiskBlockBytes]);
  return {memory.get(), kDiskBlockBytes};
}

// Copies to the place in dst; tells the watch, piece by piece.
void copy_to(const ReadRequest& request, uint64_t at, Bytes bytes, ReadWatch* watch) {
  for (const MutableBytes piece : scatter_slice(request.dst, at - request.range.begin, bytes.size())) {
    std::memcpy(piece.data(), bytes.data(), piece.size());
    if (watch != nullptr) watch->on_bytes(at, piece);
    at += piece.size();
    bytes = bytes.subspan(piece.size());
  }
}

}  // namespace

void DiskReads::look(const ReadPtr& read) {
  const auto first = static_cast<uint32_t>(read->request.range.begin / kDiskBlockBytes);
  const auto last = static_cast<uint32_t>((read->request.range.end - 1) / kDiskBlockBytes);
  bool given_up = false;
  for (uint32_t block = first; block <= last && !given_up; ++block) {
    if (copy_block(*read, block, read->missing.empty())) continue;
    {
      std::lock_guard lock(read->mutex);
      given_up = read->abandoned;
    }
    if (given_up) break;
    const DiskIndex::Newcomer newcomer{read->place(block), options_.planned, source(), read->request.due};
    read->missing.push_back({block, cache_->reserve(read->object, newcomer)});
  }
  executor_.post([self = shared_from_this(), read] { self->on_looked(read); });
}

// The watch needs to see all bytes in order: only while everything came from the disk.
bool DiskReads::copy_block(Read& read, uint32_t block, bool in_order) {
  const ByteRange range = read.within(block, block);
  const Bytes bytes = cache_->read(read.object, read.place(block), range, scratch());
  if (bytes.empty()) return false;
  std::lock_guard lock(read.mutex);
  if (!read.abandoned) copy_to(read.request, range.begin, bytes, in_order ? read.request.watch.get() : nullptr);
  return true;
}

void DiskReads::look_again(const ReadPtr& read, uint32_t block) {
  io_.post([self = shared_from_this(), read, block] {
    const bool good = self->copy_block(*read, block, false);
    DiskReads& home = *self;
    home.executor_.post([self, read, good] { self->part_done(read, good); });
  });
}

void DiskReads::on_looked(const ReadPtr& read) {
  read->looking = false;
  if (read->abandoned) {
    for (size_t i = 0; i < read->missing.size(); ++i) give_back_room(read, i);
    return;
  }
  const uint32_t first = read->request.range.begin / kDiskBlockBytes;
  const uint32_t last = (read->request.range.end - 1) / kDiskBlockBytes;
  const bool nothing = read->missing.size() == last - first + size_t{1} &&
                       std::ranges::none_of(read->missing, &Read::Missing::reserved);
  if (nothing) read->good = false;  // goes through whole, as it was asked
  if (!nothing) fetch(read);
  part_done(read, true);
}

// Everything in `missing` becomes a part of its own: somebody's load, one of ours, or a range that goes through.
void DiskReads::fetch(const ReadPtr& read) {
  for (size_t i = 0; i < read->missing.size();) {
    if (join(read, i)) {
      ++i;
      continue;
    }
    if (!read->missing[i].reserved) {
      i += pass_run(read, i);
      continue;
    }
    if (const size_t begun = begin_load(read, i); begun > 0) {
      i += begun;
    } else if (!stop_.stop_requested() && buffers_out_ > 0 && (fetching_ > 0 || bound_for_ < kBoundMax)) {
      // A load that ends gives its buffers to those who wait.
      read->missing.erase(read->missing.begin(), read->missing.begin() + static_cast<ptrdiff_t>(i));
      ++read->parts_disk;
      waiting_.push_back(read);
      note_disk_bound();
      return;
    } else {
      give_back_room(read, i);  // goes through: no memory, or the disk is slower than the store
    }
  }
  read->missing.clear();
}

bool DiskReads::join(const ReadPtr& read, size_t missing) {
  const uint32_t block = read->missing[missing].block;
  const auto it = loads_.find({read->hash.bytes, block});
  // Somebody's load that ended since this read looked.
  const bool written = it == loads_.end() && cache_->index().has(read->place(block));
  if (it == loads_.end() && !written) return false;
  give_back_room(read, missing);
  if (written) {
    ++read->parts_disk;
    look_again(read, block);
  } else if (it->second->answered) {
    ++read->parts_disk;
    it->second->latecomers.emplace_back(read, block);
  } else if (it->second->readers.empty() || it->second->readers.back() != read) {
    ++read->parts_disk;
    it->second->readers.push_back(read);
  }
  return true;
}

Buffer DiskReads::take_buffer() {
  if (!idle_.empty()) {
    Buffer buffer = std::move(idle_.back());
    idle_.pop_back();
    return buffer;
  }
  return buffers_out_ < options_.buffers_max ? buffers_->take(kDiskBlockBytes) : Buffer();
}

// From `missing` on, consecutive blocks that have room, as far as there are buffers. How many.
size_t DiskReads::begin_load(const ReadPtr& read, size_t missing) {
  if (stop_.stop_requested()) return 0;
  auto load = std::make_shared<Load>();
  load->first = read->missing[missing].block;
  for (size_t i = missing; i < read->missing.size() && load->buffers.size() < kLoadBlocksMax; ++i) {
    const Read::Missing& next = read->missing[i];
    const bool goes_on = next.reserved && next.block == load->first + load->buffers.size();
    if (!goes_on || loads_.contains({read->hash.bytes, next.block})) break;
    Buffer buffer = take_buffer();
    if (!buffer) break;
    load->buffers.push_back(std::move(buffer));
    ++buffers_out_;
  }
  const size_t blocks = load->buffers.size();
  if (blocks == 0) return 0;
  if (!gate_.enter()) {
    buffers_out_ -= static_cast<uint32_t>(blocks);
    return 0;
  }
  load->object = read->object;
  load->folder = read->folder;
  load->hash = read->hash;
  load->lane = read->request.lane;
  load->due = read->request.due;
  load->readers.push_back(read);
  ++read->parts_disk;
  for (size_t i = 0; i < blocks; ++i) {
    read->missing[missing + i].reserved = false;  // the load's now
    loads_[{read->hash.bytes, static_cast<uint32_t>(load->first + i)}] = load;
  }
  ask(load);
  return blocks;
}

void DiskReads::ask(const LoadPtr& load) {
  ++fetching_;
  ReadRequest request;
  request.key = load->object.key;
  request.range = load->range();
  request.if_match = load->object.etag;
  request.version_id = load->object.version_id;
  request.object_size = load->object.size;
  request.lane = load->lane;
  request.due = load->due;
  request.spare = spare_;
  for (size_t i = 0; i < load->buffers.size(); ++i) {
    request.dst.push_back(load->buffers[i].bytes().first(load->block(i).size()));
  }
  auto inner = inner_.lock();
  if (!inner) {
    ReadOutcome gone;
    gone.status = cancelled("the store is gone");
    executor_.post([self = shared_from_this(), load, gone] { self->on_answer(load, gone); });
    return;
  }
  bytes_asked_ += request.range.size();
  inner->read(
      std::move(request),
      [self = shared_from_this(), load](ReadOutcome outcome) mutable {
        DiskReads& home = *self;  // a store with several loops answers on the request's own: come home first
        home.executor_.post([self = std::move(self), load = std::move(load), outcome = std::move(outcome)]() mutable {
          self->on_answer(load, std::move(outcome));
        });
      },
      stop_.get_token());
}

void DiskReads::on_answer(const LoadPtr& load, ReadOutcome outcome) {
  --fetching_;
  load->answered = true;
  note_disk_bound();
  if (outcome.status.ok()) {
    io_.post([self = shared_from_this(), load] { self->store_load(load); });
    return;
  }
  // Readers ask for themselves, and are told why it fails.
  for (const ReadPtr& read : std::exchange(load->readers, {})) part_done(read, false);
  io_.post([self = shared_from_this(), load] {
    for (size_t i = 0; i < load->buffers.size(); ++i) {
      self->cache_->unreserve(load->object, static_cast<uint32_t>(load->first + i));
    }
    DiskReads& home = *self;
    home.executor_.post([self, load] { self->end_load(load); });
  });
}

void DiskReads::store_load(const LoadPtr& load) {
  for (const ReadPtr& read : load->readers) hand_over(*load, *read);
  executor_.post([self = shared_from_this(), load] {
    for (const ReadPtr& read : std::exchange(load->readers, {})) self->part_done(read, true);
  });
  for (size_t i = 0; i < load->buffers.size(); ++i) {
    const auto block = static_cast<uint32_t>(load->first + i);
    cache_->write(load->object, {load->folder, load->hash, block}, load->block(i));
  }
  executor_.post([self = shared_from_this(), load] { self->end_load(load); });
}

void DiskReads::hand_over(const Load& load, Read& read) const {
  for (size_t i = 0; i < load.buffers.size(); ++i) {
    const auto number = static_cast<uint32_t>(load.first + i);
    const ByteRange block = load.object.block_range(number), range = read.within(number, number);
    if (range.begin >= range.end) continue;
    std::lock_guard lock(read.mutex);
    if (read.abandoned) return;
    copy_to(read.request, range.begin, load.block(i).subspan(range.begin - block.begin, range.size()), nullptr);
  }
}

void DiskReads::end_load(const LoadPtr& load) {
  for (size_t i = 0; i < load->buffers.size(); ++i) {
    loads_.erase({load->hash.bytes, static_cast<uint32_t>(load->first + i)});
    --buffers_out_;
    if (!stop_.stop_requested()) idle_.push_back(std::move(load->buffers[i]));
  }
  load->buffers.clear();
  for (const auto& [read, block] : std::exchange(load->latecomers, {})) look_again(read, block);
  pump();
  gate_.leave();
}

// From `missing` on, consecutive blocks without room, in one range as far as the read needs it. How many.
size_t DiskReads::pass_run(const ReadPtr& read, size_t missing) {
  size_t end = missing + 1;
  while (end < read->missing.size() && !read->missing[end].reserved &&
         read->missing[end].block == read->missing[end - 1].block + 1 &&
         !loads_.contains({read->hash.bytes, read->missing[end].block})) {
    ++end;
  }
  ReadRequest part;
  const ReadRequest& whole = read->request;
  part.key = whole.key;
  part.range = read->within(read->missing[missing].block, read->missing[end - 1].block);
  part.if_match = whole.if_match;
  part.version_id = whole.version_id;
  part.object_size = whole.object_size;
  part.lane = whole.lane;
  part.due = whole.due;
  part.dst = scatter_slice(whole.dst, part.range.begin - whole.range.begin, part.range.size());
  ++read->parts_inner;
  pass(
      std::move(part),
      [self = shared_from_this(), read](ReadOutcome outcome) {
        const bool good = outcome.status.ok();
        DiskReads& home = *self;
        home.executor_.post([self, read, good] {
          read->good = read->good && good;
          if (--read->parts_inner == 0 && (read->parts_disk == 0 || read->abandoned)) self->conclude(read);
        });
      },
      read->stop);
  return end - missing;
}

void DiskReads::give_back_room(const ReadPtr& read, size_t missing) {
  if (!std::exchange(read->missing[missing].reserved, false)) return;
  io_.post([cache = cache_, read, block = read->missing[missing].block] { cache->unreserve(read->object, block); });
}

// Waiting reads, of which no fetch is under way, wait for the disk to take what was fetched.
void DiskReads::note_disk_bound() {
  const TimePoint now = executor_.clock().now();
  if (bound_since_) bound_for_ += now - *bound_since_;
  if (now - window_from_ > kBoundWindow) {
    window_from_ = now;
    bound_for_ = Nanos(0);
  }
  bound_since_.reset();
  if (waiting_.empty() || fetching_ > 0) return;
  bound_since_ = now;
  executor_.post_at(now + kBoundMax, [weak = weak_from_this()] {
    if (auto self = weak.lock()) self->pump();
  });
}

void DiskReads::pump() {
  note_disk_bound();
  while (!waiting_.empty() && (!idle_.empty() || (fetching_ == 0 && (buffers_out_ == 0 || bound_for_ >= kBoundMax)))) {
    const ReadPtr read = std::move(waiting_.front());
    waiting_.pop_front();
    if (read->abandoned) {
      for (size_t i = 0; i < read->missing.size(); ++i) give_back_room(read, i);
      continue;
    }
    fetch(read);
    part_done(read, true);
  }
  note_disk_bound();
}

}  // namespace headrace
