// SPDX-License-Identifier: Apache-2.0
#include "fleet_store.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "store/scatter.h"

namespace headrace::sim {
namespace {

constexpr Nanos kStallTimeout = std::chrono::seconds(5);  // the transport's, then it breaks off

Nanos millis(double ms) { return Nanos(static_cast<int64_t>(ms * 1e6)); }

}  // namespace

FleetWeather::FleetWeather(Draw from, Nanos span) : draw(from) {
  median_ms = static_cast<double>(draw.log_between(2, 150));
  sigma = 0.2 + 0.5 * draw.uniform();
  tail_share = draw.chance(0.5) ? 0 : 0.02 * draw.uniform();
  tail_ms = median_ms * static_cast<double>(draw.between(5, 60));
  requests_per_s = draw.chance(0.5) ? 0 : static_cast<double>(draw.log_between(60, 400));  // less is an error in the end, and may be
  broken_share = draw.chance(0.3) ? 0 : 0.02 * draw.uniform();
  stalled_share = draw.chance(0.4) ? 0 : 0.005 * draw.uniform();
  flipped_share = draw.chance(0.4) ? 0 : 0.003 * draw.uniform();
  if (draw.chance(0.3)) retry_after = std::chrono::seconds(draw.between(1, 3));
  for (uint64_t n = draw.between(0, 4); n > 0; --n) {
    const TimePoint at = TimePoint(Nanos(static_cast<int64_t>(draw.uniform() * static_cast<double>(span.count()))));
    aways.push_back({at, at + std::chrono::milliseconds(draw.log_between(200, 15'000))});
  }
}

bool FleetWeather::away(TimePoint now) const {
  return std::any_of(aways.begin(), aways.end(), [now](const Away& a) { return now >= a.from && now < a.until; });
}

bool FleetWeather::too_many(TimePoint now) {
  if (requests_per_s == 0) return false;
  const double most = std::max(4.0, requests_per_s / 10);
  tokens_ = std::min(most, tokens_ + std::chrono::duration<double>(now - filled_).count() * requests_per_s);
  filled_ = now;
  if (tokens_ < 1) return true;
  tokens_ -= 1;
  return false;
}

Nanos FleetWeather::first_byte() {
  const double normal = std::sqrt(-2 * std::log(1 - draw.uniform())) * std::cos(2 * std::numbers::pi * draw.uniform());
  return millis((draw.chance(tail_share) ? tail_ms : median_ms) * std::exp(sigma * normal));
}

struct FleetStore::Call {
  ReadRequest request;
  UniqueFunction<void(ReadOutcome)> done;
  ReadOutcome outcome;
  bool flip = false;
  std::optional<std::stop_callback<std::function<void()>>> on_stop;

  void answer(const DataSet& data) {
    if (!done) return;
    const uint64_t shard = std::stoull(request.key.substr(request.key.rfind('-') + 1));
    const Bytes content = as_bytes(*data.content(shard));
    scatter_copy(scatter_slice(request.dst, 0, outcome.bytes), content.subspan(request.range.begin, outcome.bytes));
    if (flip) request.dst[0][0] ^= std::byte{4};
    std::exchange(done, nullptr)(std::move(outcome));
  }
  void stop() {
    if (!done) return;
    ReadOutcome stopped;
    stopped.status = cancelled("stopped");
    std::exchange(done, nullptr)(std::move(stopped));
  }
};

void FleetStore::read(ReadRequest request, UniqueFunction<void(ReadOutcome)> done, std::stop_token stop) {
  FleetWeather& w = weather_;
  const TimePoint now = executor().clock().now();
  auto call = std::make_shared<Call>();
  ReadOutcome& out = call->outcome;
  out.etag = "e";
  out.bytes = request.range.size();
  Nanos after = w.first_byte();
  ++w.attempts;
  const bool away = w.away(now);
  if (away || w.too_many(now)) {
    ++w.refused;
    w.refused_away += away ? 1 : 0;
    out.status = throttled("slow down");
    out.retryable = out.throttled = true;
    out.retry_after = w.retry_after;
    out.bytes = 0;
    after = millis(1 + 10 * w.draw.uniform());
  } else if (w.draw.chance(w.broken_share)) {
    ++w.broken;
    out.status = unavailable("broken off");
    out.retryable = true;
    out.bytes = w.draw.below(request.range.size() + 1);
  } else if (w.draw.chance(w.stalled_share)) {
    ++w.broken;
    out.status = timed_out("stalled");
    out.retryable = true;
    out.bytes = w.draw.below(request.range.size());
    after += kStallTimeout;
  } else {
    call->flip = w.draw.chance(w.flipped_share);
  }
  call->request = std::move(request);
  call->done = std::move(done);
  if (stop.stop_possible()) {
    call->on_stop.emplace(stop, [this, weak = std::weak_ptr(call)] {
      executor().post([weak] {
        if (auto held = weak.lock()) held->stop();
      });
    });
  }
  executor().post_at(now + after, [this, call] { call->answer(data_); });
}

void OnceStore::read(ReadRequest request, UniqueFunction<void(ReadOutcome)> done, std::stop_token stop) {
  ++begun;
  if (!hook_) hook_.emplace(stop, on_stop_);
  const bool lose = loses_ && draw_.chance(0.005), repeat = doubles_ && draw_.chance(0.005);
  auto told = std::make_shared<bool>(false);
  inner_->read(
      std::move(request),
      [this, told, lose, repeat, done = std::move(done)](ReadOutcome outcome) mutable {
        if (lose) return lost_.push_back(std::move(done));
        if (std::exchange(*told, true)) {
          ++twice;
          return;
        }
        ++ended;
        if (repeat) ++twice;  // as if it had come again
        done(std::move(outcome));
      },
      stop);
}

}  // namespace headrace::sim
