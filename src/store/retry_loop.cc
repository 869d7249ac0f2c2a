// SPDX-License-Identifier: Apache-2.0
#include "store/retry_loop.h"

#include <algorithm>
#include <cstdio>

namespace headrace {
namespace {

// How often an operation looks whether the empty quota has tokens again: uniform in [0.5, 1.5) of this. 1,000 waiting
// operations then cost 4,000 timers a second, and a freed token is taken within a millisecond.
constexpr Nanos kQuotaPoll = std::chrono::milliseconds(250);

// With admission an operation's own wait only spreads it among the others.
constexpr Nanos kSpread = std::chrono::seconds(2);

std::string seconds_text(Nanos span) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f s", std::chrono::duration<double>(span).count());
  return text;
}

Nanos scaled(Nanos span, double by) {
  return Nanos(static_cast<int64_t>(static_cast<double>(span.count()) * by));
}

// How the endpoint did, as admission sees it.
RequestEnd::How how_of(const AttemptFailure& failure) {
  if (failure.throttled) return RequestEnd::How::kSlowDown;
  const Code code = failure.status.code();
  const bool lost = code == Code::kUnavailable || code == Code::kTimeout;
  return failure.retryable && lost ? RequestEnd::How::kLost : RequestEnd::How::kOther;
}

}  // namespace

void RetryLoop::start() {
  started_ = now();
  next_attempt();
}

// At once where there is room. Else on the operation's executor: from here on others may have it.
void RetryLoop::next_attempt() {
  if (!core_->admission || core_->admission->enter(lane_)) return begin();
  executor().post([self = shared_from_this()] { self->queue_up(); });
}

void RetryLoop::queue_up() {
  state_ = State::kQueued;
  stop_callback_.reset();  // it may have fired between the two
  watch_stop();
  core_->admission->wait(shared_from_this(), lane_, attempts_ > 0);
}

void RetryLoop::admitted() {
  executor().post([self = shared_from_this()] { self->begin(); });
}

void RetryLoop::begin() {
  state_ = State::kRunning;
  stop_callback_.reset();
  attempt_at_ = now();
  if (attempts_ == 0) {  // attempts and the time between them count from here
    waited_ = attempt_at_ - started_;
    started_ = attempt_at_;
  }
  if (++attempts_ > 1 && core_->metrics != nullptr) core_->metrics->retries.add();
  attempt();
}

void RetryLoop::leave(RequestEnd::How how, uint64_t bytes, Nanos retry_after) {
  if (core_->admission) core_->admission->leave({how, bytes, now() - attempt_at_, retry_after});
}

void RetryLoop::succeeded(uint64_t bytes) {
  leave(RequestEnd::How::kOk, bytes, {});
  // As the SDKs: a success pays its own retry back, a clean one adds a token.
  core_->quota.give_back(attempts_ > 1 ? cost_ : 1);
}

void RetryLoop::failed(AttemptFailure failure) {
  last_ = std::move(failure);
  leave(how_of(last_), 0, last_.retry_after);
  if (!last_.retryable || last_.status.code() == Code::kCancelled) {
    if (attempts_ == 1) return give_up(std::move(last_.status));
    return end("not worth another attempt");
  }
  if (stop_.stop_requested()) return end_stopped();
  const RetryOptions& options = core_->options;
  // How often one may be refused is time's to say: the pauses are the endpoint's, not this request's.
  if (!last_.throttled || !core_->admission) ++failures_;
  in_vain_ = last_.brought ? 1 : in_vain_ + 1;
  if (failures_ >= options.attempts_max) {
    return end("attempts_max=" + std::to_string(options.attempts_max) +
               "; raise it or check the network and the store");
  }
  const TimePoint next = now() + wait_before_next(last_);
  if (deadline_.passed(next)) return end("the request's deadline comes before the next attempt");
  if (next - started_ > options.elapsed_max) {
    return end("elapsed_max=" + seconds_text(options.elapsed_max) + "; raise it or check the network and the store");
  }
  wait(next);
}

Nanos RetryLoop::wait_before_next(const AttemptFailure& failure) {
  const RetryOptions& options = core_->options;
  // Where admission gives way to the store, a long pause of one's own only holds up what is delivered in order behind.
  const Nanos base = failure.throttled && !core_->admission ? options.throttle_base : options.transient_base;
  const uint32_t doublings = std::min<uint32_t>(in_vain_ - 1, 30);
  const double ceiling = std::min(static_cast<double>(base.count()) * static_cast<double>(1u << doublings),
                                  static_cast<double>(core_->admission ? std::min(options.backoff_max, kSpread).count()
                                                                       : options.backoff_max.count()));
  const Nanos jittered(static_cast<int64_t>(core_->uniform() * ceiling));
  if (failure.retry_after <= Nanos::zero()) return jittered;
  // Everybody was told the same: spread out behind it.
  return std::max(jittered, std::min(failure.retry_after, options.backoff_max) + scaled(base, core_->uniform()));
}

void RetryLoop::wait(TimePoint until) {
  state_ = State::kWaiting;
  watch_stop();
  executor().post_at(until, [self = shared_from_this()] { self->wake(); });
}

void RetryLoop::watch_stop() {
  if (stop_callback_ || !stop_.stop_possible()) return;
  // May post at once, when the stop came in between; the task then runs after this step.
  stop_callback_.emplace(stop_, Stopper{weak_from_this(), &executor()});
}

void RetryLoop::Stopper::operator()() const {
  executor->post([loop = loop] {
    if (auto self = loop.lock()) self->on_stop();
  });
}

void RetryLoop::wake() {
  if (state_ != State::kWaiting) return;  // stopped meanwhile
  const uint32_t cost = last_.throttled ? core_->options.throttle_cost : core_->options.transient_cost;
  if (!core_->quota.take(cost, now())) {
    const TimePoint next = now() + scaled(kQuotaPoll, 0.5 + core_->uniform());
    if (deadline_.passed(next) || next - started_ > core_->options.elapsed_max) {
      state_ = State::kRunning;
      stop_callback_.reset();
      return end("too many requests are failing: the retry budget quota_tokens=" +
                 std::to_string(core_->options.quota_tokens) + " is used up");
    }
    return wait(next);
  }
  state_ = State::kRunning;
  cost_ = cost;
  next_attempt();
}

void RetryLoop::on_stop() {
  if (state_ == State::kRunning) return;  // an attempt is under way: it sees the token itself
  if (state_ == State::kQueued && !core_->admission->give_up(*this)) return;  // likewise: it is about to begin
  state_ = State::kRunning;
  stop_callback_.reset();
  end_stopped();
}

void RetryLoop::end_stopped() {
  if (attempts_ == 0) return give_up(cancelled(what() + ": stopped"));
  give_up(cancelled(what() + ": stopped while waiting to retry after: " + last_.status.message()));
}

void RetryLoop::end(const std::string& why) {
  const Code code = last_.status.code();
  give_up({code, what() + ": gave up after " + std::to_string(attempts_) +
                     (attempts_ == 1 ? " attempt in " : " attempts in ") + seconds_text(now() - started_) + " (" +
                     why + "): " + last_.status.message()});
}

}  // namespace headrace
