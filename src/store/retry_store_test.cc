// SPDX-License-Identifier: Apache-2.0
#include "store/retry_store.h"

#include <gtest/gtest.h>

#include <deque>

#include "store/fault_store.h"
#include "store/memory_store.h"
#include "store/record_store.h"
#include "store/scatter.h"

namespace headrace {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Gives the numbers it was told, then the last one for ever.
class ScriptedRandom final : public RandomSource {
 public:
  explicit ScriptedRandom(double always) : value_(static_cast<uint64_t>(always * 0x1.0p53) << 11) {}
  uint64_t next() override { return value_; }

 private:
  uint64_t value_;
};

constexpr double kAlmostOne = 0.9999999999;

struct World {
  ManualClock clock;
  ManualExecutor executor{clock};
  std::shared_ptr<MemoryStore> memory = std::make_shared<MemoryStore>(executor);
  std::shared_ptr<FaultStore> faults = std::make_shared<FaultStore>(memory, std::make_unique<SeededRandom>(1));
  std::shared_ptr<RecordStore> record = std::make_shared<RecordStore>(faults);
  StoreMetrics metrics;
  std::shared_ptr<RetryStore> retry;

  explicit World(RetryOptions options = {}, double jitter = kAlmostOne)
      : retry(std::make_shared<RetryStore>(record, options, std::make_unique<ScriptedRandom>(jitter), &metrics)) {}

  struct Pending {
    std::string bytes;
    std::optional<ReadOutcome> outcome;
  };
  std::shared_ptr<Pending> begin(ByteRange range, std::string if_match = {}, std::stop_token stop = {},
                                 Deadline deadline = {}) {
    auto pending = std::make_shared<Pending>();
    pending->bytes.assign(range.size(), '?');
    ReadRequest request;
    request.key = "k";
    request.range = range;
    request.if_match = std::move(if_match);
    request.deadline = deadline;
    const size_t half = range.size() / 2;
    auto all = std::as_writable_bytes(std::span(pending->bytes));
    request.dst = {all.first(half), all.subspan(half)};
    retry->read(std::move(request),
                [pending](ReadOutcome o) {
                  EXPECT_FALSE(pending->outcome.has_value());
                  pending->outcome = std::move(o);
                },
                std::move(stop));
    return pending;
  }
  double seconds_now() const { return std::chrono::duration<double>(clock.now().time_since_epoch()).count(); }
};

TEST(RetryStore, GoesOnBehindTheLastGoodByteOfTheSameObject) {
  World w;
  const std::string etag = w.memory->set("k", "0123456789");
  StoreFault cut;
  cut.kind = StoreFault::Kind::kShort;
  cut.bytes = 3;
  cut.times = 2;
  w.faults->add(cut);
  auto read = w.begin({1, 9});
  w.executor.run_all();
  ASSERT_TRUE(read->outcome->status.ok()) << read->outcome->status.message();
  EXPECT_EQ(read->bytes, "12345678");
  EXPECT_EQ(read->outcome->bytes, 8u);
  EXPECT_EQ(read->outcome->etag, etag);
  const auto records = w.record->records();
  ASSERT_EQ(records.size(), 3u);
  EXPECT_EQ(records[0].range, (ByteRange{1, 9}));
  EXPECT_EQ(records[0].if_match, "");
  EXPECT_EQ(records[1].range, (ByteRange{4, 9}));
  EXPECT_EQ(records[1].if_match, etag);
  EXPECT_EQ(records[2].range, (ByteRange{7, 9}));
  EXPECT_EQ(w.record->bytes_read(), 8u);  // not one byte twice
  EXPECT_EQ(w.metrics.retries.value(), 2u);
}

// A connection that breaks behind some bytes is no sign that the store is in trouble: 6 pauses of 50 ms, not 3.15 s.
TEST(RetryStore, PausesGrowOnlyByAttemptsThatBroughtNothing) {
  World w;
  w.memory->set("k", "0123456789");
  StoreFault cut;
  cut.kind = StoreFault::Kind::kShort;
  cut.bytes = 1;
  cut.times = 6;
  w.faults->add(cut);
  auto read = w.begin({1, 9});
  w.executor.run_all();
  ASSERT_TRUE(read->outcome->status.ok()) << read->outcome->status.message();
  EXPECT_NEAR(w.seconds_now(), 0.3, 1e-3);
}

TEST(RetryStore, NeverMixesTwoVersionsOfAnObject) {
  World w;
  w.memory->set("k", "0123456789");
  StoreFault cut;
  cut.kind = StoreFault::Kind::kShort;
  cut.bytes = 5;
  cut.times = 1;
  w.faults->add(cut);
  auto read = w.begin({0, 10});
  w.executor.run_ready();
  w.memory->set("k", "abcdefghij");
  w.executor.run_all();
  EXPECT_EQ(read->outcome->status.code(), Code::kPrecondition);
  EXPECT_EQ(read->outcome->bytes, 5u);
  EXPECT_EQ(read->bytes, "01234?????");
}

TEST(RetryStore, DoublesItsJitteredWaitUpToTheCap) {
  // Uniform draws of almost 1 show the ceilings: 50, 100, 200, ... ms (reference: full jitter).
  World w(RetryOptions{.attempts_max = 12, .elapsed_max = seconds(600), .backoff_max = seconds(5)});
  w.memory->set("k", "x");
  w.faults->add({});
  auto read = w.begin({0, 1});
  w.executor.run_all();
  const auto records = w.record->records();
  ASSERT_EQ(records.size(), 12u);
  std::vector<int64_t> waits_ms;
  for (size_t i = 1; i < records.size(); ++i) {
    waits_ms.push_back(std::chrono::round<milliseconds>(records[i].asked - records[i - 1].answered).count());
  }
  EXPECT_EQ(waits_ms, (std::vector<int64_t>{50, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000, 5000}));
}

TEST(RetryStore, WaitsLongerWhenThrottledAndAsLongAsTheServerAsks) {
  World w;
  w.memory->set("k", "x");
  StoreFault slow{.times = 1, .status = throttled("slow down"), .throttled = true};
  w.faults->add(slow);
  auto read = w.begin({0, 1});
  w.executor.run_all();
  ASSERT_TRUE(read->outcome->status.ok());
  EXPECT_NEAR(w.seconds_now(), 1.0, 0.001);

  World asked(RetryOptions{}, 0.5);
  asked.memory->set("k", "x");
  slow.retry_after = seconds(7);
  asked.faults->add(slow);
  read = asked.begin({0, 1});
  asked.executor.run_all();
  ASSERT_TRUE(read->outcome->status.ok());
  EXPECT_NEAR(asked.seconds_now(), 7.5, 0.001);  // 7 s and half the base of 1 s, so that clients spread out
}

TEST(RetryStore, CapsWhatTheServerMayAskFor) {
  World w(RetryOptions{}, 0.0);
  w.memory->set("k", "x");
  w.faults->add({.times = 1, .status = throttled("slow down"), .throttled = true, .retry_after = seconds(86400)});
  auto read = w.begin({0, 1});
  w.executor.run_all();
  ASSERT_TRUE(read->outcome->status.ok());
  EXPECT_NEAR(w.seconds_now(), 20.0, 0.001);
}

TEST(RetryStore, SaysWhatItTriedWhenAttemptsRunOut) {
  World w(RetryOptions{.attempts_max = 3});
  w.memory->set("k", "0123456789");
  w.faults->add({.status = unavailable("connection reset by peer")});
  auto read = w.begin({2, 9});
  w.executor.run_all();
  EXPECT_EQ(w.record->reads(), 3u);
  EXPECT_EQ(read->outcome->status.code(), Code::kUnavailable);
  const std::string& text = read->outcome->status.message();
  EXPECT_EQ(text.find("read memory:/k bytes [2, 9): gave up after 3 attempts in 0.1 s (attempts_max=3"), 0u) << text;
  EXPECT_NE(text.find("connection reset by peer"), std::string::npos) << text;
}

TEST(RetryStore, GivesUpWhenTheNextAttemptWouldComeTooLate) {
  World w(RetryOptions{.attempts_max = 1000, .elapsed_max = seconds(10)});
  w.memory->set("k", "x");
  w.faults->add({});
  auto read = w.begin({0, 1});
  w.executor.run_all();
  EXPECT_LE(w.seconds_now(), 10.0);
  EXPECT_NE(read->outcome->status.message().find("elapsed_max=10.0 s"), std::string::npos)
      << read->outcome->status.message();
}

TEST(RetryStore, NeverOutlastsTheDeadline) {
  World w;
  w.memory->set("k", "x");
  w.faults->add({});
  auto read = w.begin({0, 1}, "", {}, Deadline::after(w.clock, milliseconds(300)));
  w.executor.run_all();
  ASSERT_TRUE(read->outcome.has_value());
  EXPECT_LT(w.seconds_now(), 0.3);
  EXPECT_NE(read->outcome->status.message().find("deadline"), std::string::npos);
}

TEST(RetryStore, DoesNotRepeatWhatCannotHelp) {
  World w;
  w.faults->add({.status = permission_denied("no"), .retryable = false});
  auto read = w.begin({0, 1});
  w.executor.run_all();
  EXPECT_EQ(w.record->reads(), 1u);
  EXPECT_EQ(read->outcome->status.code(), Code::kPermission);
  EXPECT_EQ(read->outcome->status.message().find("gave up"), std::string::npos);
}

TEST(RetryStore, AnswersAStopWhileItWaits) {
  World w;
  w.memory->set("k", "x");
  w.faults->add({.status = throttled("slow down"), .throttled = true});
  std::stop_source stop;
  auto read = w.begin({0, 1}, "", stop.get_token());
  w.executor.run_ready();
  EXPECT_FALSE(read->outcome.has_value());
  stop.request_stop();
  EXPECT_FALSE(read->outcome.has_value());  // never inside the call
  w.executor.run_ready();
  ASSERT_TRUE(read->outcome.has_value());
  EXPECT_EQ(read->outcome->status.code(), Code::kCancelled);
  EXPECT_EQ(w.seconds_now(), 0.0);
  w.executor.run_all();  // the timer finds nothing to do
  EXPECT_EQ(w.record->reads(), 1u);
}

TEST(RetryStore, MeetsAnOutageWithATrickleAndStillFinishesAll) {
  // 1,000 reads in flight, everything fails for 30 s. Tokens: 500 + 50/s * 30 s = 2,000 => at most 2,000 / 14 = 143 retries.
  World w(RetryOptions{.attempts_max = 1000}, 0.37);
  w.memory->set("k", "0123456789");
  w.faults->add({});
  std::vector<std::shared_ptr<World::Pending>> reads;
  for (int i = 0; i < 1000; ++i) reads.push_back(w.begin({0, 10}));
  w.executor.post_at(w.clock.now() + seconds(30), [&] {
    EXPECT_LE(w.metrics.retries.value(), 143u);
    EXPECT_GE(w.metrics.retries.value(), 35u + 60u);  // and never silence: the end of the outage is noticed
    w.faults->clear();
  });
  w.executor.run_all();
  for (const auto& read : reads) ASSERT_TRUE(read->outcome->status.ok()) << read->outcome->status.message();
  EXPECT_LT(w.seconds_now(), 30 + 20 * 0.37 + 0.5);  // the longest wait of any of them, and a poll of the quota
}

TEST(RetryStore, SaysSoWhenTheBudgetIsSpent) {
  World w(RetryOptions{.elapsed_max = seconds(5), .quota_tokens = 14, .quota_refill_per_s = 0});
  w.memory->set("k", "x");
  w.faults->add({});
  auto read = w.begin({0, 1});
  w.executor.run_all();
  EXPECT_EQ(w.record->reads(), 2u);
  EXPECT_NE(read->outcome->status.message().find("quota_tokens=14"), std::string::npos)
      << read->outcome->status.message();
}

// A store that gives no ETag, breaks off at first and holds another content after that.
class NoEtagStore final : public ObjectStore {
 public:
  explicit NoEtagStore(TimedExecutor& executor) : executor_(executor) {}
  void read(ReadRequest request, UniqueFunction<void(ReadOutcome)> done, std::stop_token) override {
    ranges.push_back(request.range);
    ReadOutcome outcome;
    if (ranges.size() == 1) {
      scatter_copy(scatter_slice(request.dst, 0, 2), as_bytes("ol"));
      outcome.status = unavailable("cut");
      outcome.retryable = true;
      outcome.bytes = 2;
    } else {
      scatter_copy(request.dst, as_bytes(std::string_view("fresh").substr(request.range.begin)));
      outcome.bytes = request.range.size();
    }
    executor_.post([done = std::move(done), outcome]() mutable { done(outcome); });
  }
  void head(std::string, Completion<ObjectMeta>, std::stop_token) override {}
  void list(ListRequest, Completion<ListPage>, std::stop_token) override {}
  void put(PutRequest, Completion<ObjectMeta>, std::stop_token) override {}
  TimedExecutor& executor() override { return executor_; }
  const std::string& name() const override { return name_; }
  std::vector<ByteRange> ranges;

 private:
  TimedExecutor& executor_;
  std::string name_ = "noetag:";
};

TEST(RetryStore, StartsAgainWhereNoETagTiesThePiecesTogether) {
  ManualClock clock;
  ManualExecutor executor(clock);
  auto inner = std::make_shared<NoEtagStore>(executor);
  RetryStore retry(inner, {}, std::make_unique<SeededRandom>(1));
  std::string bytes(5, '?');
  ReadRequest request;
  request.key = "k";
  request.range = {0, 5};
  request.dst = {std::as_writable_bytes(std::span(bytes))};
  bool ok = false;
  retry.read(std::move(request), [&](ReadOutcome o) { ok = o.status.ok(); }, {});
  executor.run_all();
  EXPECT_TRUE(ok);
  EXPECT_EQ(bytes, "fresh");
  ASSERT_EQ(inner->ranges.size(), 2u);
  EXPECT_EQ(inner->ranges[1], (ByteRange{0, 5}));
}

TEST(RetryStore, RetriesHeadListAndPutByTheirCode) {
  World w;
  w.memory->set("k", "x");
  w.faults->add({.op = StoreOp::kHead, .times = 2});
  w.faults->add({.op = StoreOp::kList, .times = 1, .status = corrupt("cut XML")});
  w.faults->add({.op = StoreOp::kPut, .times = 1, .status = throttled("slow down")});
  Code head = Code::kInternal, list = Code::kInternal, put = Code::kInternal;
  w.retry->head("k", [&](Result<ObjectMeta> r) { head = r.status().code(); }, {});
  w.retry->list({}, [&](Result<ListPage> r) { list = r.status().code(); }, {});
  w.retry->put({"new", "y", true}, [&](Result<ObjectMeta> r) { put = r.status().code(); }, {});
  w.executor.run_all();
  EXPECT_EQ(head, Code::kOk);
  EXPECT_EQ(list, Code::kOk);
  EXPECT_EQ(put, Code::kOk);
  EXPECT_EQ(w.metrics.retries.value(), 4u);

  w.faults->add({.op = StoreOp::kHead, .status = permission_denied("no")});
  w.retry->head("k", [&](Result<ObjectMeta> r) { head = r.status().code(); }, {});
  w.executor.run_all();
  EXPECT_EQ(head, Code::kPermission);
}

TEST(RetryStore, WarnsThatAnEarlierAttemptMayHaveWritten) {
  World w;
  w.memory->set("new", "written by the attempt whose reply was lost");
  w.faults->add({.op = StoreOp::kPut, .times = 1});
  Status status;
  w.retry->put({"new", "y", true}, [&](Result<ObjectMeta> r) { status = r.status(); }, {});
  w.executor.run_all();
  EXPECT_EQ(status.code(), Code::kPrecondition);
  EXPECT_NE(status.message().find("an earlier attempt"), std::string::npos) << status.message();
}

}  // namespace
}  // namespace headrace
