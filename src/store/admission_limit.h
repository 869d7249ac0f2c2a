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
  // At the start, drawn between this and twice this: processes that start together do not move together.
  double limit_start = 8;
  // What is left after "slow down" (as RFC 9438), and the cubic curve back, requests a s^3. 165 requests (5,500 a
  // second at 30 ms) are 115 after a cut and back in cbrt(50) = 3.7 s. In the worlds of admission_test.cc, 32
  // processes at once: with 2 more than 1 % is refused, with 0.4 (RFC 9438) processes side by side stay unequal for
  // longer.
  double cut = 0.7;
  double cubic = 1.0;
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

 private:
  enum class Trial { kRest, kBase, kLower, kBaseAgain, kHigher };
  struct Round {
    TimePoint began{};
    double limit = 0;
    uint64_t bytes = 0, good = 0, bad = 0;
    bool cut = false;
    bool full = false;
  };
  void good(TimePoint now, const RequestEnd& end, bool full);
  void bad(TimePoint now, const RequestEnd& end);
  void cut(TimePoint now, double to);
  void end_round(TimePoint now);
  void look_for_knee(TimePoint now);
  void try_steps(TimePoint now, const RequestEnd& end, bool full);
  void begin_trial(TimePoint now, Trial trial);
  void rest(TimePoint now, bool helped);
  double cubic(TimePoint now) const;

  const AdmissionOptions options_;
  const std::unique_ptr<RandomSource> random_;
  double limit_;
  bool doubling_ = true;
  double most_ = 0;          // the limit before the last cut
  TimePoint cut_at_{};
  TimePoint began_at_{};     // the latest request
  bool refused_ = false;     // lately: the curve says how it goes on, else trials do
  Nanos latency_{};          // smoothed
  Round round_;
  double rate_before_ = 0;   // bytes a second at half of the limit
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
  TimePoint bad_at_{};
  uint32_t bad_in_row_ = 0;
  bool down_ = false;
  TimePoint ask_at_{};
  Nanos ask_after_{};
};

}  // namespace headrace
