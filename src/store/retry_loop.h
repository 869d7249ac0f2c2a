// SPDX-License-Identifier: Apache-2.0
//
// The part of a retried operation that does not depend on what the operation is: when the next attempt starts, and when
// to give up. Private to retry_store.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>

#include "store/admission.h"
#include "store/retry_quota.h"
#include "store/retry_store.h"

namespace headrace {

// What all operations of one RetryStore share.
struct RetryCore {
  std::shared_ptr<ObjectStore> inner;
  const RetryOptions options;
  StoreMetrics* const metrics;
  const std::shared_ptr<Admission> admission;  // null: nobody has to wait for his turn
  RetryQuota quota;
  std::mutex random_mutex;
  std::unique_ptr<RandomSource> random;

  double uniform() {
    std::lock_guard lock(random_mutex);
    return random->uniform();
  }
};

struct AttemptFailure {
  Status status;
  bool retryable = false;
  bool throttled = false;
  Nanos retry_after{};
  bool brought = false;  // bytes that the next attempt need not ask for
};

// One operation from its first attempt to its end. After start() everything runs on the operation's executor, one step
// at a time; each pending step holds the operation alive.
class RetryLoop : public Admission::Waiter, public std::enable_shared_from_this<RetryLoop> {
 public:
  void start();
  void admitted() final;

 protected:
  // `lane`: whose operation it is, of those that take turns.
  RetryLoop(std::shared_ptr<RetryCore> core, std::stop_token stop, Deadline deadline, uint64_t lane)
      : core_(std::move(core)), stop_(std::move(stop)), deadline_(deadline), lane_(lane) {}

  virtual void attempt() = 0;             // begins one attempt; ends in succeeded() or failed()
  virtual void give_up(Status status) = 0;  // tells the caller
  virtual std::string what() const = 0;   // "read s3://b/k bytes [0, 10)"
  virtual TimedExecutor& executor() = 0;

  void succeeded(uint64_t bytes);    // accounting only; the derived class tells the caller
  void failed(AttemptFailure failure);
  uint32_t attempts() const { return attempts_; }
  Nanos waited() const { return waited_; }  // for the turn of the first attempt

  const std::shared_ptr<RetryCore> core_;
  const std::stop_token stop_;

 private:
  void next_attempt();
  void queue_up();
  void begin();
  void leave(RequestEnd::How how, uint64_t bytes, Nanos retry_after);
  Nanos wait_before_next(const AttemptFailure& failure);
  void watch_stop();
  void wait(TimePoint until);
  void wake();
  void on_stop();
  void end_stopped();
  void end(const std::string& why);
  TimePoint now() { return executor().clock().now(); }

  const Deadline deadline_;
  const uint64_t lane_;
  TimePoint started_{};
  TimePoint attempt_at_{};
  Nanos waited_{};
  uint32_t attempts_ = 0;
  uint32_t failures_ = 0;  // of them, that count towards attempts_max
  uint32_t in_vain_ = 0;   // of them, since one brought anything: by these the wait grows
  uint32_t cost_ = 0;  // tokens that the attempt under way took
  AttemptFailure last_;
  enum class State { kRunning, kWaiting, kQueued };  // an attempt, for its time, for its turn
  State state_ = State::kRunning;
  struct Stopper {
    std::weak_ptr<RetryLoop> loop;
    TimedExecutor* executor;
    void operator()() const;
  };
  std::optional<std::stop_callback<Stopper>> stop_callback_;  // only while waiting for anything
};

}  // namespace headrace
