// SPDX-License-Identifier: Apache-2.0
#include "plan/stream_order.h"

#include <algorithm>
#include <string>

namespace headrace {
namespace {
std::string number(uint64_t n) { return std::to_string(n); }
}  // namespace

Status check_stream_spec(const StreamSpec& spec, uint64_t world) {
  if (spec.shards == 0) return invalid_argument("stream order: the data set has no shard");
  const uint64_t most = std::min(spec.shards, kStreamsMax);
  if (spec.streams < 1 || spec.streams > most) {
    return invalid_argument("stream order: streams=" + number(spec.streams) + ", but with " +
                            number(spec.shards) + " shards there are 1 to " + number(most));
  }
  if (spec.slots < 1 || spec.slots > kSlotsMax) {
    return invalid_argument("stream order: slots=" + number(spec.slots) + ", allowed are 1 to " +
                            number(kSlotsMax));
  }
  if (world < 1 || spec.streams % world != 0) {
    return invalid_argument(
        "stream order: " + number(spec.streams) + " streams cannot be dealt to " + number(world) +
        " ranks: the number of ranks must divide that of streams (fixed when the job first "
        "started); run on a divisor of it, or begin a new job with streams= a multiple of " +
        number(world));
  }
  return {};
}

StreamDeal::StreamDeal(const StreamSpec& spec, uint64_t epoch)
    : shards_(spec.shards),
      streams_(spec.streams),
      permutation_(spec.shards, order_key(spec.seed, epoch, OrderTag::kStream, 0)) {}

uint64_t StreamDeal::shards(uint64_t stream) const {
  return stream >= shards_ ? 0 : (shards_ - stream - 1) / streams_ + 1;
}

StreamSlots::StreamSlots(const StreamSpec& spec, uint64_t epoch, uint64_t stream)
    : capacity_(spec.slots), key_(order_key(spec.seed, epoch, OrderTag::kStream, 1 + stream)) {}

void StreamSlots::fill() {
  HR_ASSERT(filling());
  slots_.push_back(head_++);
}

// As OrderStream::bounded, counting: the draws made so far are the whole state of a stream of
// draws.
uint64_t StreamSlots::bounded(uint64_t m) {
  for (;;) {
    ++draws_;
    const auto product = static_cast<unsigned __int128>(mix64(key_ + draws_ * kGolden)) * m;
    const auto low = static_cast<uint64_t>(product);
    if (low >= m || low >= (0 - m) % m) return static_cast<uint64_t>(product >> 64);
  }
}

StreamSlots::Taken StreamSlots::take(bool more) {
  HR_ASSERT(!slots_.empty());
  const uint64_t slot = bounded(slots_.size());
  const Taken taken{slot, slots_[slot]};
  if (more) {
    slots_[slot] = head_++;
  } else {
    slots_[slot] = slots_.back();
    slots_.pop_back();
  }
  return taken;
}

Result<StreamSlots> StreamSlots::replay(const StreamSpec& spec, uint64_t epoch, uint64_t stream,
                                        uint64_t head, uint64_t draws) {
  StreamSlots slots(spec, epoch, stream);
  while (slots.filling() && slots.head_ < head) slots.fill();
  // Each sample is delivered once, so that the loop ends after `head` takes whatever `draws` says.
  while (slots.draws_ < draws && !slots.slots_.empty()) slots.take(slots.head_ < head);
  if (slots.draws_ != draws || slots.head_ != head) {
    return precondition_failed("resume stream " + number(stream) +
                               ": no sequence of draws leads to draws=" + number(draws) +
                               " with head=" + number(head) + " and " + number(spec.slots) +
                               " slots: the state is damaged or of another job");
  }
  return slots;
}

StreamMark stream_start(uint64_t stream, uint64_t epoch) {
  StreamMark mark;
  mark.stream = stream;
  mark.epoch = epoch;
  return mark;
}

void StreamTurns::to_live() {
  while (left_ > 0 && !live_[turn_]) turn_ = (turn_ + 1) % live_.size();
}

void StreamTurns::advance() {
  turn_ = (turn_ + 1) % live_.size();
  to_live();
}

void StreamTurns::end(uint64_t stream) {
  if (!live_[stream]) return;
  live_[stream] = false;
  --left_;
  to_live();
}

std::vector<uint64_t> stream_samples(const ShardCounts& counts, const StreamSpec& spec,
                                     uint64_t epoch) {
  const StreamDeal deal(spec, epoch);
  std::vector<uint64_t> samples(spec.streams, 0);
  for (uint64_t s = 0; s < spec.streams; ++s) {
    for (uint64_t i = 0; i < deal.shards(s); ++i) samples[s] += counts.count(deal.shard(s, i));
  }
  return samples;
}

double stream_drop_loss(const ShardCounts& counts, const StreamSpec& spec, uint64_t epoch) {
  if (counts.total() == 0) return 0;
  const std::vector<uint64_t> samples = stream_samples(counts, spec, epoch);
  const uint64_t shortest = *std::ranges::min_element(samples);
  return 1.0 - static_cast<double>(shortest * spec.streams) / static_cast<double>(counts.total());
}

}  // namespace headrace
