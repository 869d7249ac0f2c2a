// SPDX-License-Identifier: Apache-2.0
//
// Test support: clients in virtual time on a store that bears so many requests a second and no more, is away for a
// while, or has a link that is full. Each client has what a process has: an Admission, a RetryStore, and a reader that
// always wants more.
#pragma once

#include <cmath>
#include <functional>
#include <memory>
#include <numbers>
#include <string>
#include <vector>

#include "store/admission.h"
#include "store/object_store.h"
#include "store/retry_store.h"

namespace headrace::testing_capped {

struct CapSpec {
  double requests_per_s = 0;  // above it 503, by a bucket of 100 ms; 0 = no limit
  double bytes_per_s = 0;     // of the link all answers share; 0 = no limit
  Nanos away_from{}, away_until{};  // 503 for everything
  Nanos retry_after{};
  Nanos first_byte{std::chrono::milliseconds(30)};  // median; sigma 0.35
  Nanos late{};               // the first byte of one answer in a hundred; 0 = as the others
};

class CappedStore final : public ObjectStore {
 public:
  CappedStore(TimedExecutor& executor, CapSpec spec, uint64_t seed)
      : executor_(executor), spec_(spec), random_(seed), tokens_(spec.requests_per_s / 10) {}
  uint64_t asked = 0, refused = 0, under_way = 0, under_way_max = 0;

  void read(ReadRequest request, UniqueFunction<void(ReadOutcome)> done, std::stop_token) override {
    ++asked;
    under_way_max = std::max(under_way_max, ++under_way);
    const TimePoint now = executor_.clock().now();
    ReadOutcome outcome;
    TimePoint at = now + first_byte();
    if (too_many(now) || away(now)) {
      ++refused;
      outcome.status = throttled("slow down");
      outcome.retryable = outcome.throttled = true;
      outcome.retry_after = spec_.retry_after;
      at = now + std::chrono::milliseconds(5);
    } else {
      outcome.bytes = request.range.size();
      if (spec_.bytes_per_s > 0) {
        const double body = static_cast<double>(outcome.bytes) / spec_.bytes_per_s * 1e9;
        link_free_at_ = std::max(now, link_free_at_) + Nanos(static_cast<int64_t>(body));
        at = std::max(at, link_free_at_);
      }
    }
    executor_.post_at(at, [this, done = std::move(done), outcome = std::move(outcome)]() mutable {
      --under_way;
      done(std::move(outcome));
    });
  }
  void head(std::string, Completion<ObjectMeta>, std::stop_token) override { HR_ASSERT(false); }
  void list(ListRequest, Completion<ListPage>, std::stop_token) override { HR_ASSERT(false); }
  void put(PutRequest, Completion<ObjectMeta>, std::stop_token) override { HR_ASSERT(false); }
  TimedExecutor& executor() override { return executor_; }
  const std::string& name() const override { return name_; }

 private:
  bool away(TimePoint now) const {
    const Nanos at = now.time_since_epoch();
    return at >= spec_.away_from && at < spec_.away_until;
  }
  bool too_many(TimePoint now) {
    if (spec_.requests_per_s == 0) return false;
    const double most = spec_.requests_per_s / 10;
    tokens_ = std::min(most, tokens_ + std::chrono::duration<double>(now - filled_).count() * spec_.requests_per_s);
    filled_ = now;
    if (tokens_ < 1) return true;
    tokens_ -= 1;
    return false;
  }
  Nanos first_byte() {
    if (spec_.late > Nanos::zero() && random_.uniform() < 0.01) return spec_.late;
    const double normal = std::sqrt(-2 * std::log(1 - random_.uniform())) *
                          std::cos(2 * std::numbers::pi * random_.uniform());
    return Nanos(static_cast<int64_t>(static_cast<double>(spec_.first_byte.count()) * std::exp(0.35 * normal)));
  }
  TimedExecutor& executor_;
  const CapSpec spec_;
  SeededRandom random_;
  const std::string name_ = "capped:";
  double tokens_;
  TimePoint filled_{}, link_free_at_{};
};

// Reads until told otherwise, as the engine does: as many as are not only waiting.
class Client {
 public:
  Client(std::shared_ptr<ObjectStore> inner, std::shared_ptr<Admission> admission, uint64_t seed, uint64_t lane = 1)
      : executor_(inner->executor()), lane_(lane) {
    store_ = std::make_shared<RetryStore>(std::move(inner), RetryOptions(), std::make_unique<SeededRandom>(seed),
                                          &metrics, std::move(admission));
  }
  void more() {
    while (wanted > 0 && under_way_ < kMost && !store_->crowded(lane_)) {
      --wanted;
      ++under_way_;
      ReadRequest request;
      request.key = "k";
      request.range = {0, kBytes};
      request.dst = {MutableBytes(memory_)};
      request.lane = lane_;
      store_->read(std::move(request), [this](ReadOutcome outcome) { ended(std::move(outcome)); }, {});
    }
  }
  static constexpr uint64_t kBytes = 115'000, kMost = 1024;
  StoreMetrics metrics;
  uint64_t wanted = UINT64_MAX, done = 0, failed = 0;
  std::string failure;

 private:
  void ended(ReadOutcome outcome) {
    --under_way_;
    ++(outcome.status.ok() ? done : failed);
    if (!outcome.status.ok()) failure = outcome.status.message();
    more();
  }
  TimedExecutor& executor_;
  const uint64_t lane_;
  std::shared_ptr<ObjectStore> store_;
  std::vector<std::byte> memory_ = std::vector<std::byte>(kBytes);
  uint64_t under_way_ = 0;
};

// `n` processes on one store.
struct Crowd {
  Crowd(CapSpec spec, size_t n, AdmissionOptions options = {}, uint64_t seed = 1)
      : store(std::make_shared<CappedStore>(executor, spec, seed)) {
    for (size_t i = 0; i < n; ++i) {
      admissions.push_back(
          std::make_shared<Admission>(options, executor, std::make_unique<SeededRandom>(seed * 1000 + i)));
      clients.push_back(std::make_unique<Client>(store, admissions.back(), seed * 77 + i));
    }
  }
  void start() {
    for (auto& client : clients) client->more();
  }
  // Runs on by `span`; returns what each client got done in it.
  std::vector<uint64_t> run(Nanos span) {
    std::vector<uint64_t> before;
    for (auto& client : clients) before.push_back(client->done);
    bool over = false;
    executor.post_at(clock.now() + span, [&] { over = true; });
    while (!over) executor.run_all(1);
    for (size_t i = 0; i < clients.size(); ++i) before[i] = clients[i]->done - before[i];
    return before;
  }
  void finish() {
    for (auto& client : clients) client->wanted = 0;
    executor.run_all();
  }
  ManualClock clock;
  ManualExecutor executor{clock};
  std::shared_ptr<CappedStore> store;
  std::vector<std::shared_ptr<Admission>> admissions;
  std::vector<std::unique_ptr<Client>> clients;
};

inline uint64_t sum(const std::vector<uint64_t>& of) {
  uint64_t total = 0;
  for (uint64_t one : of) total += one;
  return total;
}

}  // namespace headrace::testing_capped
