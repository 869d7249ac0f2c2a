// SPDX-License-Identifier: Apache-2.0
#include "fleet.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <deque>
#include <memory>
#include <vector>

#include "event_loop.h"
#include "fetch/engine.h"
#include "fleet_store.h"
#include "process.h"
#include "row_sample.h"
#include "store/admission.h"
#include "store/hedge_store.h"
#include "store/retry_store.h"

namespace headrace::sim {
namespace {

// A run takes half a million events at most, and a few hundred between two that move the clock.
constexpr uint64_t kEventsMax = 100'000'000, kEventsAtOnce = 100'000;
// An outage of 15 s, a stall of 5 s and the waits of ten attempts are over by then.
constexpr Nanos kStandstill = std::chrono::minutes(2);
constexpr uint32_t kBatchMax = 8;

struct Shared {
  Timeline timeline;
  std::unique_ptr<FleetWeather> weather;
  std::unique_ptr<DataSet> data;
  FleetOutcome out;
  BatchPlanSpec plan;
  FetchOptions fetch;
  double memory_factor = 1;
  FleetSpec spec;
  void fail(const std::string& what) {
    if (out.failure.empty()) out.failure = what;
  }
};

class Client final : public FetchSink, public std::enable_shared_from_this<Client> {
 public:
  Client(Shared& shared, uint32_t rank, Draw draw)
      : shared_(shared), draw_(draw), name_("client " + std::to_string(rank)), executor_(shared.timeline),
        workers_(executor_, draw_.part(1), std::chrono::milliseconds(2)), step_(draw_.micros(1'000'000, 20'000'000)) {
    shared_.timeline.add(&executor_);
    spec_ = shared.plan;
    spec_.schedule.rank = rank;
  }
  ~Client() override { shared_.timeline.remove(&executor_); }

  void start() {
    const uint64_t need = kBatchMax * (shared_.data->largest_read() + 64);
    memory_bytes_ = static_cast<uint64_t>(shared_.memory_factor * static_cast<double>(need));
    const FleetSabotage broken = shared_.spec.sabotage;
    budget_ = Budget::root("memory budget", broken == FleetSabotage::kOverBudget ? 2 * memory_bytes_ : memory_bytes_);
    memory_ = std::make_shared<Memory>(budget_, 64, broken == FleetSabotage::kLeak);
    auto wire = std::make_shared<FleetStore>(*shared_.weather, *shared_.data, executor_);
    auto hedge = std::make_shared<HedgeStore>(wire, HedgeOptions(), &metrics_);
    admission_ = std::make_shared<Admission>(AdmissionOptions(), executor_, std::make_unique<SeededRandom>(draw_.next()));
    auto retry = std::make_shared<RetryStore>(hedge, RetryOptions(), std::make_unique<SeededRandom>(draw_.next()),
                                              &metrics_,
                                              broken == FleetSabotage::kNoAdmission ? nullptr : admission_);
    const auto on_stop = [this] {
      if (closing_) executor_.shut_down();
    };
    store_ = std::make_shared<OnceStore>(retry, draw_.part(2), on_stop, broken == FleetSabotage::kLostAnswer,
                                         broken == FleetSabotage::kSecondAnswer);
    auto plan = BatchPlan::make(spec_), expected = BatchPlan::make(spec_);
    if (!plan.ok()) return shared_.fail("the plan was refused: " + plan.status().message());
    expected_ = std::make_unique<BatchPlan>(*std::move(expected));
    FetchDeps deps{{}, &workers_, memory_, budget_};
    deps.sources.push_back({store_, shared_.data->index, shared_.data->counts, shared_.data->cutter, ""});
    engine_ = FetchEngine::make(std::move(deps), *std::move(plan), shared_.fetch, shared_from_this());
    engine_->start();
    engine_->allow(2);
    executor_.post_at(executor_.clock().now() + step_, [this] { step(); });
    if (broken == FleetSabotage::kSpin) spin();
  }

  void on_batch(FetchedBatch batch) override {
    if (closing_) return;
    check(batch, "when they arrive");
    batches_.push_back(std::move(batch));
  }
  void on_end(Status status) override {
    if (std::exchange(ended_, true)) shared_.fail(name_ + ": the pass ended twice");
    if (!closing_) shared_.fail(name_ + " gave up: " + status.message());
  }

  void look_whether_it_goes_on(TimePoint now) {
    if (now - last_ > kStandstill + step_) shared_.fail(name_ + " stands still: " + text());
  }
  std::string text() const {
    return "in flight " + std::to_string(engine_->metrics().in_flight) + ", limit " +
           std::to_string(admission_->limit()) + (admission_->down() ? ", down" : "") + ", under way " +
           std::to_string(admission_->under_way()) + ", memory " + std::to_string(budget_->used()) + " of " +
           std::to_string(budget_->bytes_max()) + ", reads " + std::to_string(store_->ended) + " of " +
           std::to_string(store_->begun) + ", retries " + std::to_string(metrics_.retries.value());
  }
  const std::string& name() const { return name_; }

  void close() {
    closing_ = true;
    store_->give_back_lost();
    if (ended_ || store_->begun == 0) executor_.shut_down();
    engine_->close();
    executor_.run_rest();
    batches_.clear();
    shared_.out.reads += store_->begun;
    shared_.out.hedges += metrics_.hedges.value();
    shared_.out.hedges_won += metrics_.hedges_won.value();
    if (store_->ended != store_->begun || store_->twice > 0) {
      shared_.fail(name_ + ": " + std::to_string(store_->begun) + " reads, " + std::to_string(store_->ended) +
                   " answers, " + std::to_string(store_->twice) + " more than once");
    }
    if (metrics_.hedges.value() * 100 > 3 * store_->begun + 100) {
      shared_.fail(name_ + ": " + std::to_string(metrics_.hedges.value()) + " second readings of " +
                   std::to_string(store_->begun));
    }
    engine_.reset();
    if (budget_->used() != 0 || memory_->bytes_live() != 0) {
      shared_.fail(name_ + ": memory was not given back: " + std::to_string(budget_->used()) + " of the budget, " +
                   std::to_string(memory_->bytes_live()) + " bytes");
    }
    if (memory_->bytes_peak() > memory_bytes_) shared_.fail(name_ + ": the budget was exceeded");
    if (admission_->under_way() != 0) {
      shared_.fail(name_ + ": admission still counts " + std::to_string(admission_->under_way()) + " under way");
    }
  }

 private:
  void spin() {
    if (!closing_) executor_.post([this] { spin(); });
  }
  void check(const FetchedBatch& batch, const char* when) {
    for (const FetchedRow& row : batch.rows) {
      SampleBatchView late;
      const Result<SampleView> view = sample_of(row, late);
      if (!view.ok()) {
        return shared_.fail(name_ + ": sample " + std::to_string(row.sample) + ": " + view.status().message());
      }
      const Bytes found = view->fields[0].bytes, wanted = shared_.data->sample(row.sample);
      if (found.size() == wanted.size() && std::memcmp(found.data(), wanted.data(), found.size()) == 0) continue;
      return shared_.fail(name_ + ": the bytes of sample " + std::to_string(row.sample) + " are wrong " + when);
    }
  }
  // The trainer takes a batch, and compares it with the plan.
  void step() {
    if (closing_) return;
    executor_.post_at(executor_.clock().now() + (batches_.empty() ? std::chrono::milliseconds(20) : step_),
                      [this] { step(); });
    if (batches_.empty()) return;
    last_ = executor_.clock().now();
    const FetchedBatch batch = std::move(batches_.front());
    batches_.pop_front();
    check(batch, "when they are let go");
    std::vector<PlanRow> rows;
    std::vector<uint64_t> samples;
    PlanPoint after;
    if (!expected_->next(rows, after) || rows.size() != batch.rows.size()) return shared_.fail(name_ + ": wrong batch");
    for (size_t i = 0; i < rows.size(); ++i) {
      expected_->samples(rows[i], samples);
      const bool same = samples[rows[i].index] == batch.rows[i].sample && rows[i].position == batch.rows[i].position;
      if (!same) return shared_.fail(name_ + ": batch " + std::to_string(batch.number) + " is out of order");
    }
    ++shared_.out.batches;
    engine_->batch_gone();
    engine_->allow(1);
  }

  Shared& shared_;
  Draw draw_;
  const std::string name_;
  ProcessExecutor executor_;
  ProcessWorkers workers_;
  const Nanos step_;
  BatchPlanSpec spec_;
  std::unique_ptr<BatchPlan> expected_;
  uint64_t memory_bytes_ = 0;
  std::shared_ptr<Budget> budget_;
  std::shared_ptr<Memory> memory_;
  StoreMetrics metrics_;
  std::shared_ptr<Admission> admission_;
  std::shared_ptr<OnceStore> store_;
  std::shared_ptr<FetchEngine> engine_;
  std::deque<FetchedBatch> batches_;
  TimePoint last_{};
  bool closing_ = false, ended_ = false;
};

void draw_job(Draw draw, Shared& shared) {
  DataSpec data;
  for (uint64_t n = draw.between(2, 5); n > 0; --n) data.counts.push_back(draw.between(20, 120));
  data.bytes_min = draw.log_between(16, 600);
  data.bytes_max = data.bytes_min + draw.log_between(1, 1500);
  data.crc = shared.spec.sabotage != FleetSabotage::kNoChecksums;
  data.stride = draw.chance(0.7) ? 1 : draw.one_of<uint64_t>({2, 4, 8});
  shared.data = std::make_unique<DataSet>(data, draw.next(), "data");
  SourceSpec source;
  source.counts = shared.data->counts;
  source.order = {draw.next(), 0, draw.between(1, 8), draw.between(1, 12), Shuffle::kStratified};
  shared.plan.sources.push_back(source);
  shared.plan.schedule = {0, draw.between(1, kBatchMax) * shared.spec.clients, 0, shared.spec.clients, Remainder::kWrap};
  shared.plan.epochs = 1'000'000;
  shared.fetch.scatter_bytes_min = draw.log_between(16, 2000);
  shared.fetch.gap_bytes_max = draw.below(2000);
  shared.fetch.ahead_bytes_min = draw.log_between(1, 20'000);
  shared.fetch.request_bytes_max = draw.log_between(1000, 1 << 20);
  shared.memory_factor = 1 + 20 * draw.uniform();
  shared.fetch.spare_bytes = draw.chance(0.8) ? draw.log_between(100, 5000) : 0;
}

void print(const Shared& shared, const std::vector<std::shared_ptr<Client>>& clients) {
  const auto seconds = std::chrono::duration<double>(shared.timeline.now() - TimePoint()).count();
  std::printf("%.1f s: %llu attempts, %llu refused, %llu broken\n", seconds,
              static_cast<unsigned long long>(shared.weather->attempts),
              static_cast<unsigned long long>(shared.weather->refused),
              static_cast<unsigned long long>(shared.weather->broken));
  for (const auto& client : clients) std::printf("  %s: %s\n", client->name().c_str(), client->text().c_str());
}

void run(Shared& shared, const std::vector<std::shared_ptr<Client>>& clients) {
  TimePoint next_look{}, moved{};
  uint64_t events_before = 0;
  const TimePoint end = TimePoint() + shared.spec.span;
  while (shared.out.failure.empty() && shared.timeline.now() < end && shared.timeline.run_one()) {
    const TimePoint now = shared.timeline.now();
    if (now != std::exchange(moved, now)) events_before = shared.timeline.events();
    if (shared.timeline.events() - events_before > kEventsAtOnce) shared.fail("time stands still: somebody spins");
    if (shared.timeline.events() > kEventsMax) shared.fail("too many events");
    if (now < next_look) continue;
    next_look = now + std::chrono::seconds(10);
    for (auto& client : clients) client->look_whether_it_goes_on(now);
    if (shared.spec.trace) print(shared, clients);
  }
}

// While the store is away: what was under way, and a question a second and client. Else a share of what is asked: eight
// that share 60 requests a second are refused one in eight of them (without admission one in three), more at first.
void check_refusals(Shared& shared) {
  const FleetWeather& w = *shared.weather;
  uint64_t away_most = 0;
  for (const auto& away : w.aways) {
    const auto seconds = static_cast<uint64_t>(std::chrono::duration<double>(away.until - away.from).count());
    away_most += shared.spec.clients * (60 + 6 * seconds);
  }
  if (w.refused_away > away_most) {
    shared.fail(std::to_string(w.refused_away) + " requests while the store was away, " + std::to_string(away_most) +
                " are allowed");
  }
  const uint64_t refused = w.refused - w.refused_away, most = 300 + w.attempts / 6;
  if (refused > most) {
    shared.fail(std::to_string(refused) + " of " + std::to_string(w.attempts) + " requests were refused, " +
                std::to_string(most) + " are allowed");
  }
}

}  // namespace

FleetOutcome run_fleet(uint64_t seed, const FleetSpec& spec) {
  Shared shared;
  shared.spec = spec;
  Draw draw(seed);
  draw_job(draw.part(1), shared);
  shared.weather = std::make_unique<FleetWeather>(draw.part(2), spec.span);
  if (spec.trace) std::printf("%s", shared.weather->text().c_str());
  std::vector<std::shared_ptr<Client>> clients;
  for (uint32_t i = 0; i < spec.clients; ++i) {
    clients.push_back(std::make_shared<Client>(shared, i, draw.part(10 + i)));
    clients.back()->start();
  }
  run(shared, clients);
  shared.out.virtual_time = shared.timeline.now() - TimePoint();
  shared.out.events = shared.timeline.events();
  const FleetWeather& w = *shared.weather;
  shared.out.attempts = w.attempts;
  shared.out.refused = w.refused;
  shared.out.broken = w.broken;
  check_refusals(shared);
  for (auto& client : clients) client->close();
  return shared.out;
}

}  // namespace headrace::sim
