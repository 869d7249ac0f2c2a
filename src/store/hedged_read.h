// SPDX-License-Identifier: Apache-2.0
//
// One read that may be read twice. Private to hedge_store.
//
// The first reading fills the request's own memory, the second (the twin) memory of its own, which is copied when it
// wins: after the first one, which is cancelled then, no longer writes. While there is only the first, its answer is
// passed on as it is. Once there are two, an answer must be whole and verified to win; one that failed or is bad waits
// for the other; what nothing can mend (the object changed) ends it.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>

#include "store/hedge_core.h"
#include "store/read_spare.h"

namespace headrace {

class HedgedRead final : public std::enable_shared_from_this<HedgedRead> {
 public:
  HedgedRead(std::shared_ptr<HedgeCore> core, ReadRequest request, UniqueFunction<void(ReadOutcome)> done);
  ~HedgedRead();
  void start(const std::stop_token& stop);

  uint64_t bytes() const { return request_.range.size(); }
  // Memory for the twin, if it is free now. The core, under its lock, for a read that is under way.
  bool take_memory();
  void start_twin();

  // The core's.
  TimePoint began_at{};
  HedgedRead* older = nullptr;
  HedgedRead* newer = nullptr;
  bool listed = false;

 private:
  enum class State { kNone, kRunning, kVerifying, kGood, kLost };
  enum class Next { kWait, kVerifyFirst, kVerifyTwin, kStopFirst, kTellFirst, kTellTwin };
  struct Reading {
    State state = State::kNone;
    ReadOutcome outcome;
    std::stop_source stop{std::nostopstate};
  };
  struct Stopper {
    HedgedRead* read;
    void operator()() const;
  };

  ReadRequest copy_of_request() const;
  void first_ended(ReadOutcome outcome);
  void twin_ended(ReadOutcome outcome);
  void verify(Reading& reading, std::vector<MutableBytes> bytes);
  void verified(Reading& reading, bool good);
  Next next();
  static bool may_be_mended(const ReadOutcome& outcome);
  void go(Next what, bool on_first_loop);
  void tell(ReadOutcome outcome, bool on_first_loop);

  const std::shared_ptr<HedgeCore> core_;
  ReadRequest request_;
  UniqueFunction<void(ReadOutcome)> done_;
  std::optional<std::stop_callback<Stopper>> on_stop_;

  std::mutex mutex_;  // guards the states
  bool told_ = false;
  Reading first_, twin_;
  std::shared_ptr<const MutableBytes> twin_memory_;
};

}  // namespace headrace
