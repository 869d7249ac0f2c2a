// SPDX-License-Identifier: Apache-2.0
#include "mount/pattern.h"

#include <algorithm>

namespace headrace::mount {
namespace {

// Equal steps in a row before they count as a stride: two may be chance.
constexpr uint32_t kStepsAlikeMin = 2;
constexpr uint64_t kStepsAhead = 16;

}  // namespace

ByteRange Pattern::clipped(uint64_t begin, uint64_t end) const {
  begin = std::min(begin, file_bytes_);
  return {begin, std::clamp(end, begin, file_bytes_)};
}

Pattern::Stream* Pattern::stream_of(ByteRange read) {
  Stream* best = nullptr;
  for (Stream& stream : streams_) {
    if (!stream.in_use) continue;
    const bool on = read.begin <= stream.next + options_.ahead_slack && read.begin + options_.back_slack >= stream.next;
    if (on && (best == nullptr || stream.used_at > best->used_at)) best = &stream;
  }
  return best;
}

Pattern::Stream& Pattern::oldest() {
  return *std::ranges::min_element(streams_, {}, [](const Stream& s) { return s.in_use ? s.used_at : 0; });
}

Advice Pattern::on_read(ByteRange read, uint64_t window_max) {
  ++reads_;
  if (file_bytes_ <= options_.whole_bytes_max) {
    return {PatternKind::kWhole, {0, file_bytes_}, {}, options_.whole_bytes_max};
  }
  const int64_t step = static_cast<int64_t>(read.begin) - static_cast<int64_t>(last_begin_);
  const bool alike = reads_ > 1 && step == step_ && step != 0;
  steps_alike_ = alike ? steps_alike_ + 1 : 0;
  step_ = step;
  last_begin_ = read.begin;
  if (Stream* stream = stream_of(read)) return sequential(*stream, read, window_max);
  Advice advice;
  if (strided(read, &advice)) return advice;
  Stream& stream = oldest();
  stream = {.next = read.end, .used_at = reads_, .in_use = true};
  // The first read of a file, and one of its start, is taken for the beginning of a stream; others have to prove it.
  if (reads_ == 1 || read.begin == 0) return sequential(stream, read, window_max);
  return random(read);
}

Advice Pattern::sequential(Stream& stream, ByteRange read, uint64_t window_max) {
  stream.used_at = reads_;
  stream.next = std::max(stream.next, read.end);
  const uint64_t grown = options_.window_first + options_.window_growth * stream.bytes;
  stream.bytes = std::min(stream.bytes + read.size(), options_.window_max);
  const uint64_t window = std::clamp(window_max, options_.chunk_min, std::min(grown, options_.window_max));
  Advice advice;
  advice.kind = PatternKind::kSequential;
  advice.chunk = std::clamp(window / 8, options_.chunk_min, options_.chunk_max);
  advice.need = read;
  if (const ByteRange ahead = clipped(read.end, stream.next + window); !ahead.empty()) advice.ahead.push_back(ahead);
  return advice;
}

bool Pattern::strided(ByteRange read, Advice* advice) {
  if (steps_alike_ < kStepsAlikeMin) return false;
  advice->kind = PatternKind::kStrided;
  advice->need = read;
  advice->chunk = std::min(read.size(), options_.chunk_max);  // a step is fetched whole, or piece by piece
  int64_t begin = static_cast<int64_t>(read.begin);
  for (uint64_t i = 0; i < kStepsAhead; ++i) {
    begin += step_;
    if (begin < 0 || static_cast<uint64_t>(begin) >= file_bytes_) break;
    const auto at = static_cast<uint64_t>(begin);
    if (const ByteRange next = clipped(at, at + read.size()); !next.empty()) advice->ahead.push_back(next);
  }
  return true;
}

Advice Pattern::random(ByteRange read) const {
  const uint64_t unit = options_.random_bytes;
  Advice advice;
  advice.kind = PatternKind::kRandom;
  advice.need = clipped(read.begin / unit * unit, (read.end + unit - 1) / unit * unit);
  advice.chunk = options_.chunk_max;
  return advice;
}

}  // namespace headrace::mount
