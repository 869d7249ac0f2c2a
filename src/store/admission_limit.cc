// SPDX-License-Identifier: Apache-2.0
#include "store/admission_limit.h"

#include <algorithm>
#include <cmath>

namespace headrace {
namespace {

// A round is as long as a request takes, and so long at least that a few end in it.
constexpr Nanos kRoundMin = std::chrono::milliseconds(20);
// Below this many no share of failures is computed.
constexpr uint64_t kRoundEnds = 4;
// Of the smoothed latency: an eighth, as TCP's.
constexpr int64_t kSmoothing = 8;

// A trial is as long as four requests, its first quarter not looked at (it shows what was before), and what is between
// two that did not help doubles.
constexpr Nanos kTrialMin = std::chrono::milliseconds(200);
constexpr int64_t kTrialRequests = 4;
constexpr Nanos kRestMin = std::chrono::seconds(1), kRestMax = std::chrono::seconds(16);

// Four times as long as the curve takes to come back.
constexpr Nanos kRefusedLately = std::chrono::seconds(20);

// Failures no further apart are of one trouble.
constexpr Nanos kSameTrouble = std::chrono::seconds(1);

// Even where a store bears next to nothing, each process asks it now and then.
constexpr Nanos kPauseMax = std::chrono::seconds(1);
constexpr double kLimitMin = 0.002;

double seconds(Nanos span) { return std::chrono::duration<double>(span).count(); }
Nanos scaled(Nanos span, double by) { return Nanos(static_cast<int64_t>(static_cast<double>(span.count()) * by)); }

}  // namespace

AdmissionLimit::AdmissionLimit(AdmissionOptions options, std::unique_ptr<RandomSource> random)
    : options_(options),
      random_(std::move(random)),
      limit_(std::min(options.limit_max, options.limit_start * (1 + random_->uniform()))) {}

TimePoint AdmissionLimit::opens_at() const {
  return down_ ? ask_at_ : began_at_ + std::min(scaled(latency_, 1 / limit()), kPauseMax);
}

void AdmissionLimit::began(TimePoint now) {
  began_at_ = now;
  if (down_) ask_at_ = std::max(ask_at_, now + ask_after_);
}

void AdmissionLimit::ended(TimePoint now, const RequestEnd& end, bool full) {
  if (round_.began == TimePoint{}) round_ = {now, limit_, 0, 0, 0, false, false};
  switch (end.how) {
    case RequestEnd::How::kOk:
      good(now, end, full);
      break;
    case RequestEnd::How::kSlowDown:
    case RequestEnd::How::kLost:
      bad(now, end);
      break;
    case RequestEnd::How::kOther:
      return;
  }
  if (now - round_.began >= std::max(kRoundMin, latency_)) end_round(now);
}

void AdmissionLimit::good(TimePoint now, const RequestEnd& end, bool full) {
  bad_in_row_ = 0;
  latency_ = latency_ == Nanos::zero() ? end.took : latency_ + (end.took - latency_) / kSmoothing;
  ++round_.good;
  round_.bytes += end.bytes;
  round_.full = round_.full || full;
  if (down_) {
    down_ = false;
    limit_ = std::min(most_, options_.limit_start);
    doubling_ = true;
    rate_before_ = 0;
    round_ = {now, limit_, 0, 0, 0, false, false};
    return;
  }
  refused_ = refused_ && now - cut_at_ < kRefusedLately;
  if (!doubling_ && !refused_) return try_steps(now, end, full);
  if (!full) return;
  if (doubling_) {
    limit_ += 1;
    if (most_ > 0 && limit_ >= options_.cut * most_) {  // where the last cut left it
      doubling_ = false;
      cut_at_ = now;
    }
  } else {
    limit_ += std::clamp((cubic(now) - limit_) / std::max(limit_, 1.0), 0.0, 1.0);
  }
  limit_ = std::min(limit_, options_.limit_max);
}

// RFC 9438: the curve through the cut, flat where the limit was before it.
double AdmissionLimit::cubic(TimePoint now) const {
  const double steep = options_.cubic * std::min(1.0, most_);  // below one, in proportion
  const double back = std::cbrt(most_ * (1 - options_.cut) / steep);
  const double t = seconds(now - cut_at_) - back;
  return most_ + steep * t * t * t;
}

void AdmissionLimit::bad(TimePoint now, const RequestEnd& end) {
  ++round_.bad;
  ++bad_in_row_;
  if (bad_at_ == TimePoint{} || now - bad_at_ > kSameTrouble) before_bad_ = limit_;
  bad_at_ = now;
  refused_ = true;
  rest(now, false);
  const Nanos asked = std::min(end.retry_after, options_.ask_later_max);
  if (down_) {
    ask_after_ = std::min(scaled(ask_after_, 1.5), options_.ask_max);
    ask_at_ = now + std::max(scaled(ask_after_, 0.75 + 0.5 * random_->uniform()), asked);
    return;
  }
  if (static_cast<double>(bad_in_row_) >= std::clamp<double>(before_bad_, 4, options_.down_after)) {
    down_ = true;
    most_ = before_bad_;
    ask_after_ = options_.ask_first;
    ask_at_ = now + std::max(scaled(ask_after_, 0.75 + 0.5 * random_->uniform()), asked);
    return;
  }
  // What was sent before the last cut says nothing about the limit after it.
  if (round_.cut || now - end.took < cut_at_) return;
  round_.cut = true;
  // While doubling, half was the limit one round trip ago, which was still good.
  cut(now, doubling_ ? limit_ / 2 : limit_ * options_.cut);
}

void AdmissionLimit::cut(TimePoint now, double to) {
  most_ = doubling_ ? to / options_.cut : limit_;
  doubling_ = false;
  cut_at_ = now;
  limit_ = std::max(kLimitMin, to);
}

void AdmissionLimit::end_round(TimePoint now) {
  const uint64_t ends = round_.good + round_.bad;
  if (!down_ && round_.bad > round_.good && ends >= kRoundEnds) {
    // Much more than the store bears: to what got through at once, not by fifths.
    // (Requests that got through a second, times how long one takes, are under way at a time.)
    const double rate = static_cast<double>(round_.good) / seconds(now - round_.began);
    const double through = std::max(kLimitMin, rate * seconds(latency_));
    if (through < options_.cut * limit_) {
      most_ = through / options_.cut;
      limit_ = through;
      cut_at_ = now;
    }
  } else if (doubling_ && round_.full && round_.bad == 0) {
    look_for_knee(now);
  }
  round_ = {now, limit_, 0, 0, 0, false, false};
}

// While the limit doubles: did the doubling bring more?
void AdmissionLimit::look_for_knee(TimePoint now) {
  const double rate = static_cast<double>(round_.bytes) / seconds(now - round_.began);
  if (rate_before_ > 0 && rate < options_.knee_gain * rate_before_) {
    if (++missed_gains_ < 2) return;
    missed_gains_ = 0;
    doubling_ = false;
    return;
  }
  missed_gains_ = 0;
  rate_before_ = rate;
}

// The gradient of the rate where nothing is refused: on a line that is full, fewer requests bring as much, sooner.
void AdmissionLimit::try_steps(TimePoint now, const RequestEnd& end, bool full) {
  if (trial_ == Trial::kRest) {
    if (now >= trial_until_) begin_trial(now, Trial::kBase);
    return;
  }
  if (now < trial_began_) return;
  trial_bytes_ += end.bytes;
  trial_full_ = trial_full_ && full;
  if (now < trial_until_) return;
  const double rate = static_cast<double>(trial_bytes_) / seconds(now - trial_began_);
  if (!trial_full_) return rest(now, false);  // the consumer decides the rate
  switch (trial_) {
    case Trial::kRest:
      return;
    case Trial::kBase:
      base_rate_ = rate;
      return begin_trial(now, Trial::kLower);
    case Trial::kLower:
      if (rate < (1 - options_.loses_max) * base_rate_) return begin_trial(now, Trial::kBaseAgain);
      break;
    case Trial::kBaseAgain:
      base_rate_ = rate;
      return begin_trial(now, Trial::kHigher);
    case Trial::kHigher:
      if (rate < (1 + options_.gains_min) * base_rate_) return rest(now, false);
      break;
  }
  limit_ = trial_limit_;
  rest(now, true);
}

void AdmissionLimit::begin_trial(TimePoint now, Trial trial) {
  trial_ = trial;
  trial_limit_ = trial == Trial::kLower ? std::max(limit_ * (1 - options_.step), std::min(limit_, 1.0))
                 : trial == Trial::kHigher ? std::min(limit_ * (1 + options_.step), options_.limit_max) : limit_;
  const Nanos span = std::max(kTrialMin, latency_ * kTrialRequests);
  trial_began_ = now + span / 4;
  trial_until_ = now + span;
  trial_bytes_ = 0;
  trial_full_ = true;
}

void AdmissionLimit::rest(TimePoint now, bool helped) {
  trial_ = Trial::kRest;
  trial_limit_ = 0;
  rest_ = helped ? Nanos::zero() : std::clamp(2 * rest_, kRestMin, kRestMax);
  trial_until_ = now + rest_;
}

}  // namespace headrace
