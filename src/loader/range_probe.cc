// SPDX-License-Identifier: Apache-2.0
#include "loader/range_probe.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "loader/open_store.h"

namespace headrace {
namespace {

// After a "slow down" a place in flight rests this long, and up to as much again, so that a probe never adds a storm
// to a store that is throttling already.
constexpr Nanos kThrottleRest = std::chrono::milliseconds(50);

uint64_t longest_of(const ProbeSpec& spec) {
  uint64_t longest = 0;
  for (const ProbeRead& read : spec.reads) longest = std::max(longest, read.bytes);
  return longest;
}

// One run. Every reply is written by one thread, that of the loop its read ran on; `active_` orders them before the
// waiting thread reads them.
class Run : public std::enable_shared_from_this<Run> {
 public:
  Run(std::shared_ptr<ObjectStore> store, const std::vector<ProbeTarget>& targets, ProbeSpec spec, uint32_t loops)
      : store_(std::move(store)), targets_(targets), spec_(std::move(spec)), loops_(loops),
        clock_(store_->executor().clock()), begin_(clock_.now()) {
    out_.replies.resize(spec_.reads.size());
    scratch_.resize(loops_ > 0 ? loops_ : spec_.in_flight, std::vector<std::byte>(longest_of(spec_)));
  }

  void start() {
    active_ = spec_.in_flight;  // places, each of which reads one after another
    for (uint32_t place = 0; place < spec_.in_flight; ++place) {
      store_->executor_of(loop_of(place)).post([self = shared_from_this(), place] { self->next(place); });
    }
  }

  // Waits until every place is done; false when that took longer than `span`.
  bool wait(Nanos span, std::stop_token stop) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::move(stop), span, [this] { return active_ == 0; });
    return active_ == 0;
  }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return active_ == 0; });
  }

  void cancel() { stop_.request_stop(); }
  Status fatal() const { return fatal_; }
  ProbeRun take() { return std::move(out_); }

 private:
  int32_t loop_of(uint32_t place) const { return loops_ > 0 ? static_cast<int32_t>(place % loops_) : kAnyLoop; }
  int64_t since_begin() const { return (clock_.now() - begin_).count(); }

  void next(uint32_t place) {
    const bool over = stop_.stop_requested() || since_begin() >= spec_.send_time_max.count();
    const size_t number = over ? spec_.reads.size() : next_.fetch_add(1);
    if (number >= spec_.reads.size()) return leave();
    const ProbeRead& read = spec_.reads[number];
    const ProbeTarget& target = targets_[read.target];
    ReadRequest request;
    request.key = target.key;
    request.range = {read.begin, read.begin + read.bytes};
    request.if_match = target.etag;
    request.loop = loop_of(place);
    request.dst = {MutableBytes(scratch_[place % scratch_.size()]).first(read.bytes)};
    out_.replies[number].sent_nanos = since_begin();
    store_->read(
        std::move(request),
        [self = shared_from_this(), place, number](ReadOutcome outcome) {
          self->on_read(place, number, std::move(outcome));
        },
        stop_.get_token());
  }

  void on_read(uint32_t place, size_t number, ReadOutcome outcome) {
    ProbeReply& reply = out_.replies[number];
    reply.done_nanos = since_begin();
    reply.first_byte_nanos = outcome.first_byte.count();
    reply.end = judge(outcome);
    if (reply.end != ProbeEnd::kThrottled) return next(place);
    const Nanos rest = kThrottleRest + kThrottleRest * static_cast<int64_t>(number % 64) / 64;
    store_->executor_of(loop_of(place)).post_at(clock_.now() + rest, [self = shared_from_this(), place] {
      self->next(place);
    });
  }

  ProbeEnd judge(const ReadOutcome& outcome) {
    if (outcome.status.ok()) return ProbeEnd::kOk;
    switch (const Code code = outcome.status.code()) {
      case Code::kCancelled: return ProbeEnd::kCut;
      case Code::kThrottled:
      case Code::kUnavailable:
      case Code::kTimeout:
      case Code::kCorrupt: {
        std::lock_guard lock(mutex_);
        if (out_.first_failure.ok()) out_.first_failure = outcome.status;
        return code == Code::kThrottled ? ProbeEnd::kThrottled : ProbeEnd::kFailed;
      }
      default: {
        std::lock_guard lock(mutex_);
        if (fatal_.ok()) fatal_ = outcome.status;
        stop_.request_stop();
        return ProbeEnd::kFailed;
      }
    }
  }

  void leave() {
    std::lock_guard lock(mutex_);
    if (--active_ == 0) changed_.notify_all();
  }

  const std::shared_ptr<ObjectStore> store_;
  const std::vector<ProbeTarget>& targets_;
  const ProbeSpec spec_;
  const uint32_t loops_;
  const Clock& clock_;
  const TimePoint begin_;
  std::vector<std::vector<std::byte>> scratch_;  // one a loop: its reads are written by its thread alone
  std::atomic<size_t> next_{0};
  std::stop_source stop_;
  ProbeRun out_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  uint32_t active_ = 0;
  Status fatal_;
};

}  // namespace

RangeProbe::RangeProbe(std::shared_ptr<ObjectStore> store, std::vector<ProbeTarget> targets, uint32_t loops)
    : store_(std::move(store)), targets_(std::move(targets)), loops_(loops) {}

Status RangeProbe::check(const ProbeSpec& spec) const {
  const std::string what = "probe " + name() + ": ";
  if (spec.in_flight == 0 || spec.in_flight > kInFlightMax) {
    return invalid_argument(what + "in_flight=" + std::to_string(spec.in_flight) + " is not in [1, " +
                            std::to_string(kInFlightMax) + "]");
  }
  if (spec.reads.size() > kReadsMax) {
    return exhausted(what + std::to_string(spec.reads.size()) + " reads in a run, more than " +
                     std::to_string(kReadsMax));
  }
  const uint64_t buffers = loops_ > 0 ? loops_ : spec.in_flight;
  for (const ProbeRead& read : spec.reads) HR_TRY(check(read));
  if (longest_of(spec) * buffers > kScratchBytesMax) {
    return exhausted(what + std::to_string(buffers) + " buffers of " + std::to_string(longest_of(spec)) +
                     " bytes are more than " + std::to_string(kScratchBytesMax) + "; lower in_flight or the range");
  }
  return {};
}

Status RangeProbe::check(const ProbeRead& read) const {
  if (read.target >= targets_.size()) {
    return invalid_argument("probe " + name() + ": read of object " + std::to_string(read.target) + " of " +
                            std::to_string(targets_.size()));
  }
  const ProbeTarget& target = targets_[read.target];
  if (read.bytes == 0 || read.bytes > kRangeBytesMax || read.begin > target.bytes ||
      read.bytes > target.bytes - read.begin) {
    return invalid_argument("probe " + name() + "/" + target.key + ": bytes=" + std::to_string(read.bytes) + " at " +
                            std::to_string(read.begin) + ": not a range of its " + std::to_string(target.bytes) +
                            " bytes, or more than " + std::to_string(kRangeBytesMax));
  }
  return {};
}

Result<ProbeRun> RangeProbe::run(ProbeSpec spec, std::stop_token stop) {
  HR_TRY(check(spec));
  if (stop.stop_requested()) return cancelled("probe " + name() + ": stopped");
  const Nanos time_max = spec.send_time_max + spec.drain_time_max;
  const auto run = std::make_shared<Run>(store_, targets_, std::move(spec), loops_);
  run->start();
  if (!run->wait(time_max, stop)) {
    run->cancel();
    run->wait();
  }
  if (stop.stop_requested()) return cancelled("probe " + name() + ": stopped");
  if (Status fatal = run->fatal(); !fatal.ok()) return fatal;
  return run->take();
}

}  // namespace headrace
