// SPDX-License-Identifier: Apache-2.0
#include "store/hedged_read.h"

#include "store/scatter.h"

namespace headrace {

HedgedRead::HedgedRead(std::shared_ptr<HedgeCore> core, ReadRequest request, UniqueFunction<void(ReadOutcome)> done)
    : core_(std::move(core)), request_(std::move(request)), done_(std::move(done)) {}

// A store that is taken down may forget its reads.
HedgedRead::~HedgedRead() {
  on_stop_.reset();
  if (done_) core_->end(*this, false);
}

ReadRequest HedgedRead::copy_of_request() const {
  ReadRequest copy = request_;
  copy.spare = nullptr;
  return copy;
}

void HedgedRead::start(const std::stop_token& stop) {
  first_.state = State::kRunning;
  first_.stop = std::stop_source();
  if (stop.stop_possible()) on_stop_.emplace(stop, Stopper{this});
  core_->begin(*this);
  core_->inner->read(
      copy_of_request(), [self = shared_from_this()](ReadOutcome outcome) { self->first_ended(std::move(outcome)); },
      first_.stop.get_token());
}

void HedgedRead::Stopper::operator()() const {
  read->first_.stop.request_stop();  // before the look at the twin: from now on there will be none
  std::stop_source twin(std::nostopstate);
  {
    std::lock_guard lock(read->mutex_);
    twin = read->twin_.stop;
  }
  twin.request_stop();
}

bool HedgedRead::take_memory() {
  twin_memory_ = request_.spare->take(bytes());
  return twin_memory_ != nullptr;
}

void HedgedRead::start_twin() {
  ReadRequest second = copy_of_request();
  std::shared_ptr<const MutableBytes> unused;
  {
    std::lock_guard lock(mutex_);
    if (told_ || first_.state != State::kRunning || first_.stop.stop_requested()) {
      unused.swap(twin_memory_);
      return;
    }
    twin_.state = State::kRunning;
    twin_.stop = std::stop_source();
    second.dst = {*twin_memory_};
    second.watch = nullptr;
  }
  if (core_->metrics != nullptr) core_->metrics->hedges.add();
  core_->inner->read(
      std::move(second), [self = shared_from_this()](ReadOutcome outcome) { self->twin_ended(std::move(outcome)); },
      twin_.stop.get_token());
}

void HedgedRead::first_ended(ReadOutcome outcome) {
  Next what = Next::kTellFirst;
  bool counts = outcome.status.ok();
  core_->look_at(outcome);
  {
    std::lock_guard lock(mutex_);
    const bool good = outcome.status.ok();
    first_.outcome = std::move(outcome);
    counts = counts || twin_.state == State::kGood;  // stopped for the twin: it was late
    const bool twin_hopes = twin_.state == State::kRunning || twin_.state == State::kVerifying;
    if (good && twin_hopes) {
      first_.state = State::kVerifying;
      what = Next::kVerifyFirst;
    } else {
      first_.state = good && twin_.state != State::kGood ? State::kGood : State::kLost;
      what = next();
    }
  }
  core_->end(*this, counts);
  go(what, true);
}

void HedgedRead::twin_ended(ReadOutcome outcome) {
  Next what = Next::kVerifyTwin;
  std::shared_ptr<const MutableBytes> unused;
  core_->look_at(outcome);
  {
    std::lock_guard lock(mutex_);
    twin_.state = outcome.status.ok() ? State::kVerifying : State::kLost;
    if (told_) return;
    twin_.outcome = std::move(outcome);
    if (twin_.state == State::kLost) {
      unused.swap(twin_memory_);
      what = next();
    }
  }
  go(what, false);
}

void HedgedRead::verify(Reading& reading, std::vector<MutableBytes> bytes) {
  request_.spare->verify(request_.range, std::move(bytes),
                         [self = shared_from_this(), &reading](bool good) { self->verified(reading, good); });
}

void HedgedRead::verified(Reading& reading, bool good) {
  Next what = Next::kWait;
  std::shared_ptr<const MutableBytes> unused;
  {
    std::lock_guard lock(mutex_);
    reading.state = good ? State::kGood : State::kLost;
    if (!good && &reading == &twin_) unused.swap(twin_memory_);
    what = next();
  }
  go(what, false);
}

// What follows from where the two stand.
HedgedRead::Next HedgedRead::next() {
  if (told_) return Next::kWait;
  const bool twin_hopes = twin_.state == State::kRunning || twin_.state == State::kVerifying;
  Next what = Next::kWait;
  switch (first_.state) {
    case State::kGood:
      what = Next::kTellFirst;
      break;
    case State::kLost:
      if (twin_.state == State::kGood) {
        what = Next::kTellTwin;
      } else if (!twin_hopes || !may_be_mended(first_.outcome)) {
        what = Next::kTellFirst;  // as it is: whoever asked looks at status and bytes
      }
      break;
    case State::kRunning:
      if (twin_.state == State::kGood) what = Next::kStopFirst;
      break;
    case State::kVerifying:
    case State::kNone:
      break;
  }
  told_ = what == Next::kTellFirst || what == Next::kTellTwin;
  return what;
}

// A failure that another reading of the range may not share. Bad bytes (an ok status) are one, too.
bool HedgedRead::may_be_mended(const ReadOutcome& outcome) { return outcome.status.ok() || outcome.retryable; }

void HedgedRead::go(Next what, bool on_first_loop) {
  switch (what) {
    case Next::kWait:
      return;
    case Next::kVerifyFirst:
      return verify(first_, request_.dst);
    case Next::kVerifyTwin:
      return verify(twin_, {*twin_memory_});
    case Next::kStopFirst:
      first_.stop.request_stop();  // its end tells
      return;
    case Next::kTellFirst:
      return tell(std::move(first_.outcome), on_first_loop);
    case Next::kTellTwin:
      scatter_copy(request_.dst, *twin_memory_);
      if (core_->metrics != nullptr) core_->metrics->hedges_won.add();
      twin_memory_.reset();
      twin_.outcome.loop = first_.outcome.loop;
      return tell(std::move(twin_.outcome), on_first_loop);
  }
}

void HedgedRead::tell(ReadOutcome outcome, bool on_first_loop) {
  on_stop_.reset();
  twin_.stop.request_stop();
  if (on_first_loop) return std::exchange(done_, nullptr)(std::move(outcome));
  core_->inner->executor_of(outcome.loop)
      .post([self = shared_from_this(), outcome = std::move(outcome)]() mutable {
        std::exchange(self->done_, nullptr)(std::move(outcome));
      });
}

}  // namespace headrace
