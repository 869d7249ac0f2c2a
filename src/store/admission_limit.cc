// SPDX-License-Identifier: Apache-2.0
#include "store/admission_limit.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace headrace {
namespace {

// While nobody knows his share, just after doubling, cuts go deeper and come sooner: three of them take two thirds of
// what processes differ by. By the number of cuts since.
constexpr size_t kCutsAtFirst = 3;
constexpr double kLeftAtFirst[kCutsAtFirst] = {0.65, 0.65, 0.65}, kFasterAtFirst[kCutsAtFirst] = {4, 4, 2};

// Failures in a row are an overload, not an outage, while an answer still comes now and then.
constexpr Nanos kSilence = std::chrono::milliseconds(100);
constexpr double kSilentMin = 8;
// Each time it comes back and goes down again at once, it comes back with so much less.
constexpr double kComebackLess = 0.25;

// A round is as long as a request takes, and so long at least that a few end in it.
constexpr Nanos kRoundMin = std::chrono::milliseconds(20);
// A refusal is answered at the end of a window that it opens: a round trip, and eight requests (fewer where that many
// are never under way). In it all who share the store see the same overload, and give way together; whoever answers
// the first refusal alone gives way to those that had luck.
constexpr Nanos kWindowMin = std::chrono::milliseconds(30);
constexpr double kWindowEnds = 8;
// Of the smoothed latency: an eighth, as TCP's.
constexpr int64_t kSmoothing = 8;
// So many of them say what got through.
constexpr uint64_t kEndsMin = 4;
// Between two answers no more than this counts as time to grow in.
constexpr Nanos kGrowMax = std::chrono::seconds(1);

// A trial is as long as four requests, its first quarter not looked at (it shows what was before), and what is between
// two that did not help doubles.
constexpr Nanos kTrialMin = std::chrono::milliseconds(200);
constexpr int64_t kTrialRequests = 4;
constexpr Nanos kRestMin = std::chrono::seconds(1), kRestMax = std::chrono::seconds(16);

// Longer than any cap takes to be felt again.
constexpr Nanos kRefusedLately = std::chrono::seconds(60);

// Failures no further apart are of one trouble, and those with fewer answers in between: what was sent before an outage
// is answered in its midst.
constexpr Nanos kSameTrouble = std::chrono::seconds(1);
constexpr uint32_t kTroubleIsOver = 8;

// What one window leaves at least, while that is a request or more: one without an answer may be the first of an
// outage, which the next ones tell from a store that bears next to nothing.
constexpr double kCutMost = 8;

// Even where a store bears next to nothing, each process asks it now and then.
constexpr Nanos kPauseMax = std::chrono::seconds(1);
constexpr double kLimitMin = 0.002;
constexpr double kLatencyMin = 1e-4;

double seconds(Nanos span) { return std::chrono::duration<double>(span).count(); }
Nanos scaled(Nanos span, double by) { return Nanos(static_cast<int64_t>(static_cast<double>(span.count()) * by)); }

}  // namespace

AdmissionLimit::AdmissionLimit(AdmissionOptions options, std::unique_ptr<RandomSource> random)
    : options_(options),
      random_(std::move(random)),
      limit_(std::min(options.limit_max, options.limit_start * (1 + random_->uniform() / 4))) {}

TimePoint AdmissionLimit::opens_at() const {
  return down_ ? ask_at_ : began_at_ + std::min(scaled(latency_, 1 / limit()), kPauseMax);
}

void AdmissionLimit::began(TimePoint now) {
  began_at_ = now;
  if (down_) ask_at_ = std::max(ask_at_, now + ask_after_);
}

void AdmissionLimit::ended(TimePoint now, const RequestEnd& end, bool full) {
  if (round_.began == TimePoint{}) round_ = {now};
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
  if (window_.began == TimePoint{}) return;
  if (window_is_over(now)) end_window(now);
}

bool AdmissionLimit::window_is_over(TimePoint now) const {
  const uint64_t bad = window_.refused + window_.lost;
  const Nanos span = now - window_.began;
  if (bad >= kEndsMin && bad > window_.good && span >= latency_) return true;
  const auto ends = static_cast<double>(window_.good + bad);
  return ends >= std::min(limit_, kWindowEnds) && span >= std::max(kWindowMin, latency_);
}

void AdmissionLimit::good(TimePoint now, const RequestEnd& end, bool full) {
  bad_in_row_ = 0;
  ++good_since_bad_;
  good_at_ = now;
  latency_ = latency_ == Nanos::zero() ? end.took : latency_ + (end.took - latency_) / kSmoothing;
  if (window_.began != TimePoint{}) ++window_.good;
  round_.bytes += end.bytes;
  ++round_.good;
  round_.full = round_.full || full;
  if (down_) return came_back(now);
  refused_ = refused_ && now - cut_at_ < kRefusedLately;
  if (!doubling_ && !refused_) return try_steps(now, end, full);
  grow(now, full);
}

// From little, if the last time it came back was too much.
void AdmissionLimit::came_back(TimePoint now) {
  down_ = false;
  comeback_ = std::min(most_, comeback_ > 0 ? comeback_ * kComebackLess : options_.limit_start);
  limit_ = comeback_ = std::max(kLimitMin, comeback_);
  doubling_ = true;
  rate_before_ = good_before_ = 0;
  round_ = {now};
  window_ = {};
}

void AdmissionLimit::grow(TimePoint now, bool full) {
  const Nanos since = std::min(now - grown_at_, kGrowMax);
  grown_at_ = now;
  if (!full || window_.refused > 0) return;
  if (doubling_) {
    limit_ += std::min(1.0, limit_);
    if (most_ > 0 && limit_ >= options_.cut * most_) {  // where the last cut left it
      doubling_ = false;
      growing_ = Nanos::zero();
      cut_at_ = now;
    }
  } else {
    growing_ += since;
    limit_ += slope() * seconds(since);
  }
  limit_ = std::min(limit_, options_.limit_max);
}

// Places a second.
double AdmissionLimit::slope() const {
  const double latency = std::max(seconds(latency_), kLatencyMin), rate = most_ / latency, t = seconds(growing_);
  const double first = std::max(options_.grow_min, options_.grow * std::min(1.0, rate / options_.few));
  const double at_first = cuts_ < kCutsAtFirst ? kFasterAtFirst[cuts_] : 1;
  return at_first * first * (1 + options_.grow_later * t + options_.grow_latest * t * t) * latency;
}

void AdmissionLimit::bad(TimePoint now, const RequestEnd& end) {
  ++bad_in_row_;
  ++round_.bad;
  if (bad_at_ == TimePoint{} || (now - bad_at_ > kSameTrouble && good_since_bad_ >= kTroubleIsOver)) {
    before_bad_ = limit_;
  }
  bad_at_ = now;
  good_since_bad_ = 0;
  const Nanos asked = std::min(end.retry_after, options_.ask_later_max);
  if (down_) {
    ask_after_ = std::min(scaled(ask_after_, 1.5), options_.ask_max);
    ask_at_ = now + std::max(scaled(ask_after_, 0.75 + 0.5 * random_->uniform()), asked);
    return;
  }
  const bool silent = now - good_at_ >= std::max(kSilence, 3 * latency_);
  if (silent && static_cast<double>(bad_in_row_) >= std::clamp<double>(before_bad_, kSilentMin, options_.down_after)) {
    return go_down(now, asked);
  }
  // What was sent before the last cut says nothing about the limit after it.
  if (!doubling_ && window_.began == TimePoint{} && now - end.took < cut_at_) return;
  const bool refused = end.how == RequestEnd::How::kSlowDown;
  if (doubling_ && refused) {  // half was the limit one round trip ago, which was still good
    cuts_ = 0;
    return cut(now, limit_ / 2);
  }
  if (window_.began == TimePoint{}) window_.began = now;
  ++(refused ? window_.refused : window_.lost);
}

void AdmissionLimit::go_down(TimePoint now, Nanos asked) {
  down_ = true;
  most_ = before_bad_;
  refused_ = true;
  ask_after_ = options_.ask_first;
  ask_at_ = now + std::max(scaled(ask_after_, 0.75 + 0.5 * random_->uniform()), asked);
}

void AdmissionLimit::cut(TimePoint now, double to) {
  most_ = to / options_.cut;
  doubling_ = false;
  refused_ = true;
  rest(now, false);
  cut_at_ = grown_at_ = now;
  growing_ = Nanos::zero();
  limit_ = std::max(kLimitMin, to);
  window_ = {};
}

void AdmissionLimit::end_round(TimePoint now) {
  if (doubling_ && !down_ && round_.full && round_.bad == 0) look_for_knee(now);
  round_ = {now};
}

void AdmissionLimit::end_window(TimePoint now) {
  const Window seen = std::exchange(window_, Window{});
  if (down_) return;
  const uint64_t bad = seen.refused + seen.lost;
  if (seen.refused == 0 && static_cast<double>(seen.lost) < options_.lost_max * static_cast<double>(bad + seen.good)) {
    return;
  }
  double left = limit_ * (cuts_ < kCutsAtFirst ? kLeftAtFirst[cuts_++] : options_.cut);
  if (bad >= kEndsMin && bad > seen.good / 2) {
    // Much more than the store bears: to what got through at once. (Requests that get through a second, times how long
    // one takes, are under way at a time.)
    const double answered = limit_ * static_cast<double>(seen.good) / static_cast<double>(seen.good + bad);
    const double kept_busy = static_cast<double>(seen.good) / seconds(now - seen.began) * seconds(latency_);
    left = std::min(left, std::max({answered, kept_busy, limit_ >= kCutMost ? limit_ / kCutMost : 0}));
  }
  cut(now, left);
}

// While the limit doubles: did the doubling bring more?
void AdmissionLimit::look_for_knee(TimePoint now) {
  const double rate = static_cast<double>(round_.bytes) / seconds(now - round_.began);
  const double good = static_cast<double>(round_.good) / seconds(now - round_.began);
  // Answers of other sizes than before bring fewer bytes, or are fewer.
  if (rate_before_ > 0 && rate < options_.knee_gain * rate_before_ && good < options_.knee_gain * good_before_) {
    if (++missed_gains_ < 2) return;
    missed_gains_ = 0;
    doubling_ = false;
    return;
  }
  missed_gains_ = 0;
  rate_before_ = rate;
  good_before_ = good;
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
