// SPDX-License-Identifier: Apache-2.0
//
// StreamShuffle: one stream of the stream order with its samples: what was read comes in at one end, what is delivered
// goes out at the other, and mark() says at any time where a resume would begin. A draw is made only when it is known
// whether another sample follows, so that what comes out never depends on when bytes came in. No threads, no I/O.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "base/result.h"
#include "fetch/shard_decoder.h"
#include "plan/stream_order.h"

namespace headrace {

// One stream's part of a state.
struct StreamCut {
  StreamMark mark;
  std::shared_ptr<const RestartPoint> point;  // in the oldest sample's shard; null: its front
};

// This rank's streams after a batch, and whose turn it is.
struct StreamSnapshot {
  uint64_t turn = 0;
  std::vector<StreamCut> cuts;
};

// What is read of a stream, in order.
struct StreamItem {
  uint64_t epoch = 0;
  uint64_t shard = 0;      // the stream's i-th of the epoch
  bool epoch_end = false;  // nothing more of `epoch`; no sample
  StreamSample sample;
};

// A restart point, and where it lies in the stream.
struct StreamPoint {
  uint64_t epoch = 0;
  uint64_t shard = 0;
  std::shared_ptr<const RestartPoint> point;
};

class StreamShuffle {
 public:
  // Goes on where `cut` stands. kPrecondition: no sequence of draws leads there.
  static Result<StreamShuffle> make(const StreamSpec& spec, const StreamCut& cut);

  // The next item of the stream, which begins at mark().oldest. kPrecondition: it is not what the state says.
  Status push(StreamItem item);
  void push(StreamPoint point) { points_.push_back(std::move(point)); }
  // A sample that was pushed comes in place of itself. False: it was taken already.
  bool mend(StreamItem item);
  // The restart points of the stream's i-th shard of the epoch are not to be used.
  void drop_points(uint64_t epoch, uint64_t shard);
  // The samples that were delivered before the resume, counted from mark().oldest.
  SkipList skips() const;

  // Samples that push() can take before the slots and `ahead` more are full.
  uint64_t room(uint64_t ahead) const;
  // The next draw is decided.
  bool ready() const;
  struct Taken {
    uint64_t epoch;
    StreamSample sample;
  };
  Taken take();  // ready() only
  // The epoch that the next draw belongs to; it goes up as soon as the last sample was taken.
  uint64_t epoch() const { return epoch_; }
  // Known to have a sample in epoch().
  bool has_sample() const { return !held_.empty(); }
  uint64_t empty_epochs() const { return empty_epochs_; }  // one after another, up to now
  uint64_t samples_held() const { return held_.size() + waiting_.size(); }

  StreamCut cut() const;

 private:
  explicit StreamShuffle(const StreamSpec& spec) : spec_(spec) {}
  Status restore(StreamItem item);
  void settle();
  void put(StreamItem item);
  void begin_epoch(uint64_t epoch);
  void forget_delivered();

  // A sample that was put into a slot, in order of ordinals.
  struct Place {
    bool gone;
    StreamPlace begin;
  };

  StreamSpec spec_;
  uint64_t stream_ = 0;
  uint64_t epoch_ = 0;
  StreamSlots slots_;
  std::vector<StreamSample> held_;  // by slot
  std::deque<StreamItem> waiting_;  // read, and in no slot yet
  std::deque<Place> places_;        // from the oldest that is still in a slot on
  StreamPlace head_;                // behind the newest
  std::deque<StreamPoint> points_;  // the last one at or before the oldest, and all later ones
  // While a resume reads again what is in the slots:
  bool restoring_ = false;
  StreamCut wanted_;
  std::vector<uint64_t> slot_of_;  // by ordinal, from the oldest; kGone: delivered
  uint64_t restored_ = 0;
  uint64_t empty_epochs_ = 0;
};

}  // namespace headrace
