// SPDX-License-Identifier: Apache-2.0
//
// Admission: how many requests one endpoint gets from this process at a time. All stores of the endpoint share one, so
// that loaders side by side do not each find out for themselves what it bears, and take turns when it is short.
//
// The limit doubles a round trip at first, while that brings more bytes (the knee). When the store asks to slow down it
// falls by a fifth, or to what got through where that is less, and comes back by so many requests a second in time; all
// who share the store do so together, which makes them equal (admission_limit.h). When nothing gets through at all the
// endpoint is *down*: one request at a time asks whether it is back, everybody else waits here and
// not in timers of their own, and all go on when one is answered.
//
// Knows nothing of requests but when they begin and how they end; sends nothing; retries are store/retry_loop.h. Any
// thread.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "store/admission_limit.h"
#include "sys/executor.h"
#include "sys/random.h"

namespace headrace {

class Admission : public std::enable_shared_from_this<Admission> {
 public:
  // Whoever waits for its turn.
  class Waiter {
   public:
    virtual ~Waiter() = default;
    virtual void admitted() = 0;  // it is its turn; any thread, must only post
  };

  // `timer` runs the questions to an endpoint that is down; it outlives the last store that uses this.
  Admission(AdmissionOptions options, TimedExecutor& timer, std::unique_ptr<RandomSource> random);

  // May a request of `lane` begin now? False: it is expected to wait(), and counts as waiting from here on.
  bool enter(uint64_t lane);
  // `again`: a retry; these go first.
  void wait(std::shared_ptr<Waiter> waiter, uint64_t lane, bool again);
  // True: `waiter` no longer waits. False: it was admitted.
  bool give_up(const Waiter& waiter);
  // A request that was admitted is over.
  void leave(const RequestEnd& end);

  // Would another request of `lane` only add to those that wait?
  bool crowded(uint64_t lane) const;
  double limit() const;
  bool down() const;
  uint64_t under_way() const;

 private:
  struct Entry {
    std::shared_ptr<Waiter> waiter;
    uint64_t lane;
  };
  using Admitted = std::vector<std::shared_ptr<Waiter>>;
  bool has_room();
  TimePoint now() const { return timer_.clock().now(); }
  bool next(Entry& entry);
  void admit(Admitted& out);
  void arm();
  void ask_again(TimePoint when);
  static void tell(const Admitted& admitted);

  TimedExecutor& timer_;
  mutable std::mutex mutex_;
  AdmissionLimit limit_;
  uint64_t under_way_ = 0;
  // Until when the places of refused requests rest: a refusal comes sooner than an answer, and a place that it frees at
  // once would be refused again, several times as often as the limit means.
  std::deque<TimePoint> resting_;
  std::deque<Entry> again_;
  std::map<uint64_t, std::deque<Entry>> lanes_;   // with somebody in them
  std::map<uint64_t, uint64_t> waiting_;          // by lane: in again_ or lanes_, or on the way there
  uint64_t last_lane_ = 0;                        // that had its turn
  TimePoint armed_for_ = TimePoint::max();        // the earliest timer that is set
};

}  // namespace headrace
