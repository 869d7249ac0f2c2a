// SPDX-License-Identifier: Apache-2.0
#include "fleet_store.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
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
  requests_per_s = draw.chance(0.5) ? 0 : static_cast<double>(draw.log_between(60, 400));
  broken_share = draw.chance(0.3) ? 0 : 0.02 * draw.uniform();
  stalled_share = draw.chance(0.4) ? 0 : 0.005 * draw.uniform();
  flipped_share = draw.chance(0.4) ? 0 : 0.003 * draw.uniform();
  if (draw.chance(0.3)) retry_after = std::chrono::seconds(draw.between(1, 3));
  for (uint64_t n = draw.between(0, 4); n > 0; --n) {
    const TimePoint at = TimePoint(Nanos(static_cast<int64_t>(draw.uniform() * static_cast<double>(span.count()))));
    aways.push_back({at, at + std::chrono::milliseconds(draw.log_between(200, 15'000))});
  }
}

std::string FleetWeather::text() const {
  char line[256];
  const auto seconds = [](auto span) { return std::chrono::duration<double>(span).count(); };
  std::snprintf(line, sizeof line,
                "first byte %.0f ms, sigma %.2f, %.2f %% at %.0f ms; %.0f GET/s (0: any); broken %.2f %%, stalled "
                "%.2f %%, flipped %.2f %%; asks for %.0f s\n",
                median_ms, sigma, 100 * tail_share, tail_ms, requests_per_s, 100 * broken_share, 100 * stalled_share,
                100 * flipped_share, seconds(retry_after));
  std::string out = line;
  for (const Away& one : aways) {
    std::snprintf(line, sizeof line, "away from %.1f to %.1f s\n", seconds(one.from - TimePoint()),
                  seconds(one.until - TimePoint()));
    out += line;
  }
  return out;
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

// Three times in a row is for the engine damage where it lies (FetchOptions::rereads_max), and an error in the end.
bool FleetStore::flips(const ReadRequest& request) {
  const auto range = std::pair(request.key, request.range.begin);
  const auto before = flipped_.find(range);
  const bool often = before != flipped_.end() && before->second == 2;
  if (!often && weather_.draw.chance(weather_.flipped_share)) {
    ++flipped_[range];
    return true;
  }
  if (before != flipped_.end()) flipped_.erase(before);
  return false;
}

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
    call->flip = flips(request);
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
  auto answer = [this, told, lose, done = std::move(done)](ReadOutcome outcome) mutable {
    if (lose) return lost_.push_back(std::move(done));
    if (std::exchange(*told, true)) {
      ++twice;
      return;
    }
    ++ended;
    done(std::move(outcome));
  };
  if (!repeat) return inner_->read(std::move(request), std::move(answer), stop);
  auto again = std::make_shared<UniqueFunction<void(ReadOutcome)>>(std::move(answer));
  inner_->read(
      std::move(request),
      [this, again](ReadOutcome outcome) {
        executor().post_at(executor().clock().now() + millis(10), [again] {
          ReadOutcome loser;
          loser.status = cancelled("stopped");
          (*again)(std::move(loser));
        });
        (*again)(std::move(outcome));
      },
      stop);
}

}  // namespace headrace::sim
