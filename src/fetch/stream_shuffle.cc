// SPDX-License-Identifier: Apache-2.0
#include "fetch/stream_shuffle.h"

#include <algorithm>
#include <string>
#include <utility>

namespace headrace {
namespace {

constexpr uint64_t kGone = ~uint64_t{0};
// Samples that a resume reads again, at most: (ln W + 1) W are to be expected.
constexpr uint64_t kRestoreMax = uint64_t{1} << 32;

std::string number(uint64_t n) { return std::to_string(n); }
std::string text_of(const StreamPlace& p) {
  return "[shard " + number(p.shard) + ", row " + number(p.row) + ", byte " + number(p.offset) + ", ordinal " +
         number(p.ordinal) + "]";
}

}  // namespace

Result<StreamShuffle> StreamShuffle::make(const StreamSpec& spec, const StreamCut& cut) {
  const StreamMark& mark = cut.mark;
  const auto damaged = [&](const std::string& what) {
    return precondition_failed("resume stream " + number(mark.stream) + ": the state is damaged: " + what);
  };
  StreamShuffle out(spec);
  out.stream_ = mark.stream;
  out.epoch_ = mark.epoch;
  if (mark.draws == 0) {
    if (mark != stream_start(mark.stream, mark.epoch)) return damaged("nothing was drawn, yet it is not at a start");
    out.slots_ = StreamSlots(spec, mark.epoch, mark.stream);
    return out;
  }
  if (mark.oldest.ordinal >= mark.head.ordinal || mark.head.ordinal - mark.oldest.ordinal > kRestoreMax) {
    return damaged("oldest " + text_of(mark.oldest) + ", head " + text_of(mark.head));
  }
  HR_TRY_ASSIGN(out.slots_, StreamSlots::replay(spec, mark.epoch, mark.stream, mark.head.ordinal, mark.draws));
  out.slot_of_.assign(mark.head.ordinal - mark.oldest.ordinal, kGone);
  for (uint64_t slot = 0; slot < out.slots_.filled(); ++slot) {
    const uint64_t ordinal = out.slots_.at(slot);
    if (ordinal < mark.oldest.ordinal)
      return damaged("sample " + number(ordinal) + " is in a slot, older than the oldest");
    out.slot_of_[ordinal - mark.oldest.ordinal] = slot;
  }
  if (out.slots_.filled() == 0 || out.slot_of_[0] == kGone) return damaged("its oldest sample is in no slot");
  out.held_.resize(out.slots_.filled());
  out.restoring_ = true;
  out.wanted_ = cut;
  out.head_ = mark.oldest;
  if (cut.point) out.points_.push_back({mark.epoch, mark.oldest.shard, cut.point});
  return out;
}

SkipList StreamShuffle::skips() const {
  std::vector<bool> gone(slot_of_.size());
  for (size_t i = 0; i < gone.size(); ++i) gone[i] = slot_of_[i] == kGone;
  return SkipList(std::move(gone));
}

Status StreamShuffle::push(StreamItem item) {
  if (restoring_) return restore(std::move(item));
  if (!item.epoch_end && item.epoch == epoch_ && slots_.draws() > 0 && slots_.filled() < spec_.slots) {
    return precondition_failed("resume stream " + number(stream_) + ": by the state its shards end after " +
                               number(slots_.head()) + " samples, but there are more: the state is damaged");
  }
  waiting_.push_back(std::move(item));
  settle();
  return {};
}

// The n-th sample from the oldest on goes back to the slot it was in, or was delivered.
Status StreamShuffle::restore(StreamItem item) {
  const StreamMark& mark = wanted_.mark;
  const auto changed = [&](const std::string& what) {
    return precondition_failed("resume stream " + number(stream_) + ": the data are not those of the state: " + what +
                               "; begin a new epoch");
  };
  if (item.epoch_end) {
    return changed("its shards end after " + number(restored_) + " of " + number(slot_of_.size()) + " samples");
  }
  const StreamPlace begin{item.shard, item.sample.row, item.sample.plain.begin, mark.oldest.ordinal + restored_};
  if (restored_ == 0 && begin != mark.oldest) {
    return changed("the oldest sample is at " + text_of(begin) + ", not " + text_of(mark.oldest));
  }
  const uint64_t slot = slot_of_[restored_++];
  places_.push_back({slot == kGone, begin});
  head_ = {item.shard, begin.row + 1, item.sample.plain.end, begin.ordinal + 1};
  if (slot != kGone) held_[slot] = std::move(item.sample);
  if (restored_ < slot_of_.size()) return {};
  if (head_ != mark.head) return changed("the newest sample ends at " + text_of(head_) + ", not " + text_of(mark.head));
  restoring_ = false;
  slot_of_ = {};
  return {};
}

bool StreamShuffle::mend(StreamItem item) {
  for (StreamItem& waits : waiting_) {
    const bool same = !waits.epoch_end && waits.epoch == item.epoch && waits.shard == item.shard;
    if (!same || waits.sample.row != item.sample.row) continue;
    waits.sample = std::move(item.sample);
    return true;
  }
  if (item.epoch != epoch_) return false;
  const auto is_it = [&](const Place& p) { return p.begin.shard == item.shard && p.begin.row == item.sample.row; };
  const auto place = std::ranges::find_if(places_, is_it);
  if (place == places_.end() || place->gone) return false;
  const uint64_t ordinal = place->begin.ordinal;
  uint64_t slot = 0;
  if (restoring_) slot = slot_of_[ordinal - wanted_.mark.oldest.ordinal];
  else while (slots_.at(slot) != ordinal) ++slot;
  held_[slot] = std::move(item.sample);
  return true;
}

void StreamShuffle::drop_points(uint64_t epoch, uint64_t shard) {
  std::erase_if(points_, [&](const StreamPoint& p) { return p.epoch == epoch && p.shard == shard; });
}

uint64_t StreamShuffle::room(uint64_t ahead) const {
  if (restoring_) return slot_of_.size() - restored_;
  const uint64_t most = spec_.slots + ahead, have = samples_held();
  return have >= most ? 0 : most - have;
}

bool StreamShuffle::ready() const {
  if (restoring_ || held_.empty() || waiting_.empty()) return false;
  return !slots_.filling() || waiting_.front().epoch_end;
}

StreamShuffle::Taken StreamShuffle::take() {
  HR_ASSERT(ready());
  const bool more = !waiting_.front().epoch_end;
  const StreamSlots::Taken taken = slots_.take(more);
  Taken out{epoch_, std::move(held_[taken.slot])};
  if (more) {
    StreamItem next = std::move(waiting_.front());
    waiting_.pop_front();
    held_[taken.slot] = {};
    put(std::move(next));
    held_[taken.slot] = std::exchange(held_.back(), {});
    held_.pop_back();
  } else {
    if (taken.slot + 1 < held_.size()) held_[taken.slot] = std::move(held_.back());
    held_.pop_back();
  }
  places_[taken.ordinal - places_.front().begin.ordinal].gone = true;
  forget_delivered();
  empty_epochs_ = 0;
  settle();
  return out;
}

// Appends to held_ and places_.
void StreamShuffle::put(StreamItem item) {
  const uint64_t ordinal = head_.ordinal;
  places_.push_back({false, {item.shard, item.sample.row, item.sample.plain.begin, ordinal}});
  head_ = {item.shard, item.sample.row + 1, item.sample.plain.end, ordinal + 1};
  held_.push_back(std::move(item.sample));
}

// Fills slots with what has come, and goes on to the next epoch when this one is over.
void StreamShuffle::settle() {
  while (!waiting_.empty()) {
    if (waiting_.front().epoch_end) {
      if (!held_.empty()) return;
      if (slots_.draws() == 0) ++empty_epochs_;
      waiting_.pop_front();
      begin_epoch(epoch_ + 1);
    } else if (slots_.filling()) {
      slots_.fill();
      put(std::move(waiting_.front()));
      waiting_.pop_front();
    } else {
      return;
    }
  }
}

void StreamShuffle::begin_epoch(uint64_t epoch) {
  epoch_ = epoch;
  slots_ = StreamSlots(spec_, epoch, stream_);
  head_ = {};
  places_.clear();
  std::erase_if(points_, [&](const StreamPoint& p) { return p.epoch < epoch; });
}

// Also the restart points that no resume will need.
void StreamShuffle::forget_delivered() {
  while (!places_.empty() && places_.front().gone) places_.pop_front();
  if (places_.empty()) return;
  const StreamPlace& oldest = places_.front().begin;
  const auto before = [&](const StreamPoint& p) {
    return p.epoch < epoch_ || (p.epoch == epoch_ && (p.shard < oldest.shard ||
                                                      (p.shard == oldest.shard && p.point->plain <= oldest.offset)));
  };
  while (points_.size() > 1 && before(points_[1])) points_.pop_front();
}

StreamCut StreamShuffle::cut() const {
  if (restoring_) return wanted_;
  StreamCut out{stream_start(stream_, epoch_), nullptr};
  if (slots_.draws() == 0) return out;
  out.mark.oldest = places_.empty() ? head_ : places_.front().begin;
  out.mark.head = head_;
  out.mark.draws = slots_.draws();
  const StreamPlace& oldest = out.mark.oldest;
  for (const StreamPoint& p : points_) {
    if (p.epoch != epoch_ || p.shard != oldest.shard || p.point->plain > oldest.offset) break;
    out.point = p.point;
  }
  return out;
}

}  // namespace headrace
