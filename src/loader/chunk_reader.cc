// SPDX-License-Identifier: Apache-2.0
#include "loader/chunk_reader.h"

#include <algorithm>
#include <memory>

namespace headrace {
namespace {

// Where only headers are wanted: 30 ms of waiting are 2 MB at 65 MB/s, so a gap below that is read rather than hopped.
constexpr uint64_t kHopWorthBytes = 2ull << 20;
constexpr uint64_t kHopBytesMin = 64ull << 10;

}  // namespace

ChunkReader::ChunkReader(ObjectStore& store, Spec spec, std::span<const MutableBytes> chunks, std::stop_token stop)
    : store_(store), spec_(std::move(spec)), stop_(std::move(stop)), hop_bytes_(kHopBytesMin) {
  const size_t used = spec_.ahead ? chunks.size() : 1;
  for (size_t i = 0; i < used; ++i) slots_.push_back({chunks[i], {}, {}});
}

ChunkReader::~ChunkReader() { drain(); }

void ChunkReader::drain() {
  for (Slot& slot : slots_) {
    if (slot.done.valid()) (void)slot.done.get();
  }
}

void ChunkReader::send(Slot& slot, ByteRange range) {
  auto promise = std::make_shared<std::promise<Status>>();
  slot.range = range;
  slot.done = promise->get_future();
  ReadRequest request;
  request.key = spec_.key;
  request.range = range;
  request.object_size = spec_.size;
  request.if_match = spec_.etag;
  request.version_id = spec_.version_id;
  request.dst = {slot.memory.first(range.size())};
  request.fresh = spec_.fresh;
  ++requests_;
  bytes_ += range.size();
  store_.read(std::move(request), [promise](ReadOutcome o) { promise->set_value(std::move(o.status)); }, stop_);
}

void ChunkReader::send_ahead(uint64_t end) {
  for (size_t i = 0; i < slots_.size() && next_ < end; ++i) {
    Slot& slot = slots_[(front_ + i) % slots_.size()];
    if (slot.done.valid()) continue;
    const ByteRange range{next_, std::min<uint64_t>(end, next_ + slot.memory.size())};
    send(slot, range);
    next_ = range.end;
  }
}

// How much is read at a place: little behind a hop, more and more where what is wanted lies close together.
uint64_t ChunkReader::hop_bytes(ByteRange need) {
  const uint64_t most = slots_[0].memory.size();
  if (need.size() <= most) return need.size();  // a table, whose end is known
  if (requests_ > 0) {
    const bool far = need.begin < read_end_ || need.begin - read_end_ >= kHopWorthBytes;
    hop_bytes_ = far ? kHopBytesMin : hop_bytes_ * 2;
  }
  hop_bytes_ = std::min(hop_bytes_, most);
  return hop_bytes_;
}

Result<Bytes> ChunkReader::read(ByteRange need) {
  Slot& slot = slots_[front_];
  if (!spec_.ahead) {
    send(slot, {need.begin, need.begin + hop_bytes(need)});
  } else {
    if (requests_ == 0 || !slot.done.valid() || slot.range.begin != need.begin) {  // first, or not in order
      drain();
      next_ = need.begin;
    }
    send_ahead(std::min(need.end, spec_.size));
    front_ = (front_ + 1) % slots_.size();
  }
  HR_TRY(slot.done.get());
  read_end_ = slot.range.end;
  return Bytes(slot.memory.first(slot.range.size()));
}

}  // namespace headrace
