// SPDX-License-Identifier: Apache-2.0
//
// AdmissionLimit: the number behind Admission, as a function of how requests end. Pure: time comes in with each call.
#pragma once

#include <cstdint>
#include <memory>

#include "sys/clock.h"
#include "sys/random.h"

namespace headrace {

struct AdmissionOptions {
  // The cap. 1 GB/s of 115 KB reads at 32 ms is 282; where a host has more, more processes are at work.
  double limit_max = 768;
  // At the start, drawn between this and a quarter more. 32 processes that start together ask for 128 to 160 at once,
  // 30 ms worth of 5,500 a second.
  double limit_start = 4;
  // What a refusal leaves in the long run. 0.8: all of a capped store's processes give way at once, and the mean of 0.8
  // and 1 is nine tenths of what it bears; 0.85 is cut more often, and more is refused.
  double cut = 0.8;
  // Then so many requests a second more each second, in time and not in answers: the same for everybody, so that those
  // with fewer catch up by a fifth a cut. By t seconds after a cut 1 + 0.2 t + 0.5 t^2 times as fast: 687 a second (an
  // eighth of 5,500) are back after 2.8 s, 5,500 after 6. In the worlds of admission_test.cc 32 processes are refused
  // 0.9 % with 22, 1.1 % with 30.
  double grow = 22;
  double grow_later = 0.2, grow_latest = 0.5;
  // In proportion below so many a second (a window sees too few of them to tell more), and this at least.
  double few = 150;
  double grow_min = 1;
  // Connections that break and answers that do not come are a sign of overload from this share on.
  double lost_max = 0.1;
  // Failures in a row, with nothing in between, that mean that the endpoint is down.
  uint32_t down_after = 16;
  // How long after one question whether it is back the next one is asked: this, growing by half each time.
  Nanos ask_first{std::chrono::milliseconds(200)};
  Nanos ask_max{std::chrono::seconds(1)};
  // A store may ask for more, but not for ever.
  Nanos ask_later_max{std::chrono::seconds(20)};
  // Twice the requests must bring so many times the bytes while the limit doubles; twice missed, it stays.
  double knee_gain = 1.1;
  // Later, while nothing is refused, the limit is tried a step lower and a step higher for a while each. Lower stays
  // where it costs less than this share of the rate, higher where it brings at least this share.
  double step = 0.15;
  double loses_max = 0.02;
  double gains_min = 0.05;
};

struct RequestEnd {
  enum class How {
    kOk,
    kSlowDown,  // 503, 429
    kLost,      // the connection or the server failed
    kOther,     // stopped, refused for a reason of its own: says nothing
  };
  How how = How::kOther;
  uint64_t bytes = 0;
  Nanos took{};
  Nanos retry_after{};
};

class AdmissionLimit {
 public:
  AdmissionLimit(AdmissionOptions options, std::unique_ptr<RandomSource> random);

  // `full`: the request had the last place, or others wait.
  void ended(TimePoint now, const RequestEnd& end, bool full);
  // A request begins (of an endpoint that is down: the question).
  void began(TimePoint now);
  // May one more begin? While the endpoint is down the question may, whatever is still under way from before. A limit
  // below one is one with pauses.
  bool allows(uint64_t under_way, TimePoint now) const {
    if (down_) return now >= ask_at_;
    if (limit() < 1) return under_way == 0 && now >= opens_at();
    return static_cast<double>(under_way) + 1 <= limit();
  }
  // Is it time, not only the end of a request, that lets the next one begin? Then from here on it may.
  bool waits_for_time() const { return down_ || limit() < 1; }
  TimePoint opens_at() const;
  double limit() const { return trial_limit_ > 0 ? trial_limit_ : limit_; }
  bool down() const { return down_; }
  Nanos latency() const { return latency_; }

 private:
  enum class Trial { kRest, kBase, kLower, kBaseAgain, kHigher };
  struct Round {  // a round trip: while doubling
    TimePoint began{};
    uint64_t bytes = 0, good = 0, bad = 0;
    bool full = false;
  };
  struct Window {  // from a refusal on
    TimePoint began{};
    uint64_t good = 0, refused = 0, lost = 0;
  };
  void good(TimePoint now, const RequestEnd& end, bool full);
  void bad(TimePoint now, const RequestEnd& end);
  void came_back(TimePoint now);
  void go_down(TimePoint now, Nanos asked);
  void cut(TimePoint now, double to);
  void grow(TimePoint now, bool full);
  double slope() const;
  bool window_is_over(TimePoint now) const;
  void end_round(TimePoint now);
  void end_window(TimePoint now);
  void look_for_knee(TimePoint now);
  void try_steps(TimePoint now, const RequestEnd& end, bool full);
  void begin_trial(TimePoint now, Trial trial);
  void rest(TimePoint now, bool helped);

  const AdmissionOptions options_;
  const std::unique_ptr<RandomSource> random_;
  double limit_;
  bool doubling_ = true;
  double most_ = 0;          // the limit before the last cut
  TimePoint cut_at_{};
  TimePoint began_at_{};     // the latest request
  bool refused_ = false;     // lately: time says how it goes on, else trials do
  Nanos latency_{};          // smoothed
  Round round_;
  Window window_;
  TimePoint grown_at_{};
  uint32_t cuts_ = 0;        // since it doubled
  Nanos growing_{};          // since the last cut, the time that all places were taken
  double comeback_ = 0;      // the limit with which it came back from being down, 0: that held
  double rate_before_ = 0;   // bytes a second at half of the limit
  double good_before_ = 0;   // answers a second then
  uint32_t missed_gains_ = 0;
  Trial trial_ = Trial::kRest;
  TimePoint trial_until_{};  // and rests until
  Nanos rest_{};
  uint64_t trial_bytes_ = 0;
  bool trial_full_ = true;
  TimePoint trial_began_{};
  double trial_limit_ = 0;   // the limit that is tried, 0: limit_ itself
  double base_rate_ = 0;
  double before_bad_ = 0;    // the limit before the failures began that have not stopped since
  TimePoint bad_at_{}, good_at_{};
  uint32_t bad_in_row_ = 0, good_since_bad_ = 0;
  bool down_ = false;
  TimePoint ask_at_{};
  Nanos ask_after_{};
};

}  // namespace headrace
