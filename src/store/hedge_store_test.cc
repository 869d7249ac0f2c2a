// SPDX-License-Identifier: Apache-2.0
//
// HedgeStore in virtual time over a store that answers when the test says so.
#include "store/hedge_store.h"

#include <gtest/gtest.h>

#include <map>

#include "store/memory_store.h"
#include "store/read_spare.h"
#include "store/scatter.h"

namespace headrace {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr uint64_t kBytes = 1000;

// Answers each read after the time the test has for it (by number, from 0), as the test has it.
class SlowStore final : public ObjectStore {
 public:
  explicit SlowStore(ObjectStore& inner) : inner_(inner) {}
  struct Answer {
    Nanos after = milliseconds(20);
    Status status;
    bool retryable = true, throttled = false;
    bool flip = false;            // bad bytes
    bool deaf = false;            // does not notice a stop
  };
  std::map<uint64_t, Answer> answers;
  Answer usual;
  uint64_t reads = 0, stopped = 0, under_way = 0;

  void read(ReadRequest request, UniqueFunction<void(ReadOutcome)> done, std::stop_token stop) override {
    EXPECT_EQ(request.spare, nullptr);  // one pair, not a tree
    const auto it = answers.find(reads++);
    auto call = std::make_shared<Call>(*this, it == answers.end() ? usual : it->second, std::move(request),
                                       std::move(done));
    ++under_way;
    if (!call->answer.deaf) {
      call->on_stop.emplace(stop, [this, weak = std::weak_ptr(call)] {
        executor().post([weak] {
          if (auto held = weak.lock()) held->stopped();
        });
      });
    }
    executor().post_at(executor().clock().now() + call->answer.after, [call] { call->answer_now(); });
  }
  void head(std::string key, Completion<ObjectMeta> done, std::stop_token stop) override {
    inner_.head(std::move(key), std::move(done), stop);
  }
  void list(ListRequest r, Completion<ListPage> done, std::stop_token stop) override {
    inner_.list(std::move(r), std::move(done), stop);
  }
  void put(PutRequest r, Completion<ObjectMeta> done, std::stop_token stop) override {
    inner_.put(std::move(r), std::move(done), stop);
  }
  TimedExecutor& executor() override { return inner_.executor(); }
  const std::string& name() const override { return inner_.name(); }

 private:
  struct Call {
    SlowStore& store;
    Answer answer;
    ReadRequest request;
    UniqueFunction<void(ReadOutcome)> done;
    std::optional<std::stop_callback<std::function<void()>>> on_stop;
    Call(SlowStore& s, Answer a, ReadRequest r, UniqueFunction<void(ReadOutcome)> d)
        : store(s), answer(std::move(a)), request(std::move(r)), done(std::move(d)) {}

    void stopped() {
      if (!done) return;
      ++store.stopped;
      ReadOutcome outcome;
      outcome.status = cancelled("stopped");
      tell(std::move(outcome));
    }
    void answer_now() {
      if (!done) return;
      ReadOutcome outcome;
      outcome.status = answer.status;
      outcome.retryable = answer.retryable && !answer.status.ok();
      outcome.throttled = answer.throttled;
      if (answer.status.ok()) {
        outcome.bytes = request.range.size();
        for (uint64_t i = request.range.begin; i < request.range.end; ++i) {
          const auto byte = static_cast<std::byte>(i * 7 + (answer.flip ? 1 : 0));
          scatter_copy(scatter_slice(request.dst, i - request.range.begin, 1), Bytes(&byte, 1));
        }
      }
      tell(std::move(outcome));
    }
    void tell(ReadOutcome outcome) {
      --store.under_way;
      std::exchange(done, nullptr)(std::move(outcome));
    }
  };
  ObjectStore& inner_;
};

// Memory as the test grants it; good bytes are those of SlowStore.
class Spare final : public ReadSpare {
 public:
  Spare(TimedExecutor& executor, bool has_memory) : executor_(executor), has_memory_(has_memory) {}
  std::shared_ptr<const MutableBytes> take(uint64_t bytes) override {
    ++asked;
    if (!has_memory_) return nullptr;
    ++held;
    auto memory = std::make_shared<std::vector<std::byte>>(bytes, std::byte{0xEE});
    return {new MutableBytes(*memory), [this, memory](const MutableBytes* span) {
              delete span;
              --held;
            }};
  }
  void verify(ByteRange range, std::vector<MutableBytes> bytes, UniqueFunction<void(bool)> done) override {
    ++verified;
    bool good = scatter_bytes(bytes) == range.size();
    uint64_t at = range.begin;
    for (MutableBytes part : bytes) {
      for (std::byte byte : part) good = good && byte == static_cast<std::byte>(at++ * 7);
    }
    executor_.post_at(executor_.clock().now() + verify_takes,
                      [done = std::move(done), good]() mutable { done(good); });
  }
  Nanos verify_takes = milliseconds(1);
  int asked = 0, held = 0, verified = 0;

 private:
  TimedExecutor& executor_;
  const bool has_memory_;
};

struct World {
  ManualClock clock;
  ManualExecutor executor{clock};
  MemoryStore memory{executor};
  std::shared_ptr<SlowStore> slow = std::make_shared<SlowStore>(memory);
  StoreMetrics metrics;
  std::shared_ptr<HedgeStore> hedge;
  std::shared_ptr<Spare> spare = std::make_shared<Spare>(executor, true);

  explicit World(HedgeOptions options = {}) : hedge(std::make_shared<HedgeStore>(slow, options, &metrics)) {}

  struct Pending {
    std::vector<std::byte> bytes;
    std::optional<ReadOutcome> outcome;
    TimePoint at;
    int times = 0;
    bool good() const {
      for (size_t i = 0; i < bytes.size(); ++i) {
        if (bytes[i] != static_cast<std::byte>((i + 10) * 7)) return false;
      }
      return outcome && outcome->status.ok() && outcome->bytes == bytes.size();
    }
  };
  std::shared_ptr<Pending> begin(std::shared_ptr<ReadSpare> with, std::stop_token stop = {}, uint64_t size = kBytes) {
    auto pending = std::make_shared<Pending>();
    pending->bytes.resize(size);
    ReadRequest request;
    request.key = "k";
    request.range = {10, 10 + size};
    const MutableBytes all(pending->bytes);
    request.dst = {all.first(size / 3), all.subspan(size / 3)};
    request.spare = std::move(with);
    hedge->read(std::move(request),
                [this, pending](ReadOutcome o) {
                  pending->outcome = std::move(o);
                  pending->at = clock.now();
                  ++pending->times;
                },
                std::move(stop));
    return pending;
  }
  std::shared_ptr<Pending> begin(std::stop_token stop = {}) { return begin(spare, std::move(stop)); }
  // Reads of 20 ms each, so that the store knows what is usual, and may read `n` x 0.03 twice (above the reserve).
  void learn(int n = 300) {
    for (int i = 0; i < n; ++i) begin();
    executor.run_all();
    ASSERT_EQ(metrics.hedges.value(), 0u);
  }
  void next_answer(SlowStore::Answer answer, uint64_t skip = 0) { slow->answers[slow->reads + skip] = answer; }
};

SlowStore::Answer late(Nanos after) {
  SlowStore::Answer answer;
  answer.after = after;
  return answer;
}

TEST(HedgeStore, TheSecondAnswerIsTakenWhenTheFirstIsLate) {
  World w;
  w.learn();
  w.next_answer(late(seconds(20)));
  const TimePoint began = w.clock.now();
  auto read = w.begin();
  w.executor.run_all();
  EXPECT_TRUE(read->good());
  EXPECT_EQ(read->times, 1);
  EXPECT_EQ(w.metrics.hedges.value(), 1u);
  EXPECT_EQ(w.metrics.hedges_won.value(), 1u);
  // Late is 1.5 x 20 ms (and a bucket of 9 %); the second takes 20 more, and 1 for verifying.
  EXPECT_GE(read->at - began, milliseconds(50));
  EXPECT_LE(read->at - began, milliseconds(57));
  EXPECT_EQ(w.slow->stopped, 1u);  // the first
  EXPECT_EQ(w.slow->under_way, 0u);
  EXPECT_EQ(w.spare->held, 0);
}

TEST(HedgeStore, TheFirstAnswerWinsWhenItComesFirstAndTheTwinIsStopped) {
  World w;
  w.learn();
  w.next_answer(late(milliseconds(40)));
  w.next_answer(late(seconds(9)), 1);
  const TimePoint began = w.clock.now();
  auto read = w.begin();
  w.executor.run_all();
  EXPECT_TRUE(read->good());
  EXPECT_EQ(read->at - began, milliseconds(41));  // verified: there are two
  EXPECT_EQ(w.metrics.hedges.value(), 1u);
  EXPECT_EQ(w.metrics.hedges_won.value(), 0u);
  EXPECT_EQ(w.slow->stopped, 1u);
  EXPECT_EQ(w.spare->held, 0);
}

TEST(HedgeStore, WhatIsNotLateIsNotReadTwiceAndNotVerified) {
  World w;
  w.learn(500);
  EXPECT_EQ(w.spare->asked, 0);
  EXPECT_EQ(w.spare->verified, 0);
  EXPECT_EQ(w.slow->reads, 500u);
}

TEST(HedgeStore, BadBytesDoNotWin) {
  {
    World w;  // the twin's are bad, the first comes later
    w.learn();
    w.next_answer(late(milliseconds(500)));
    SlowStore::Answer bad;
    bad.flip = true;
    w.next_answer(bad, 1);
    const TimePoint began = w.clock.now();
    auto read = w.begin();
    w.executor.run_all();
    EXPECT_TRUE(read->good());
    EXPECT_EQ(read->at - began, milliseconds(500));
    EXPECT_EQ(w.spare->held, 0);
  }
  {
    World w;  // the first's are bad, the twin comes later
    w.learn();
    SlowStore::Answer bad = late(milliseconds(40));
    bad.flip = true;
    w.next_answer(bad);
    w.next_answer(late(milliseconds(100)), 1);
    auto read = w.begin();
    w.executor.run_all();
    EXPECT_TRUE(read->good());
    EXPECT_EQ(w.metrics.hedges_won.value(), 1u);
  }
  {
    World w;  // both are: whoever asked finds out as ever
    w.learn();
    SlowStore::Answer bad = late(milliseconds(40));
    bad.flip = true;
    w.next_answer(bad);
    w.next_answer(bad, 1);
    auto read = w.begin();
    w.executor.run_all();
    EXPECT_FALSE(read->good());
    EXPECT_TRUE(read->outcome->status.ok());
    EXPECT_EQ(read->times, 1);
    EXPECT_EQ(w.spare->held, 0);
  }
}

TEST(HedgeStore, AFailureWaitsForTheOther) {
  SlowStore::Answer failure = late(milliseconds(40));
  failure.status = unavailable("broken");
  {
    World w;
    w.learn();
    w.next_answer(failure);  // the first fails after the twin began
    auto read = w.begin();
    w.executor.run_all();
    EXPECT_TRUE(read->good());
    EXPECT_EQ(w.metrics.hedges_won.value(), 1u);
  }
  {
    World w;
    w.learn();
    w.next_answer(late(milliseconds(200)));
    w.next_answer(failure, 1);  // the twin fails
    auto read = w.begin();
    w.executor.run_all();
    EXPECT_TRUE(read->good());
    EXPECT_EQ(w.metrics.hedges_won.value(), 0u);
    EXPECT_EQ(w.spare->held, 0);
  }
  {
    World w;
    w.learn();
    w.next_answer(failure);
    w.next_answer(failure, 1);
    auto read = w.begin();
    w.executor.run_all();
    EXPECT_EQ(read->outcome->status.code(), Code::kUnavailable);
    EXPECT_TRUE(read->outcome->retryable);
    EXPECT_EQ(read->times, 1);
  }
}

TEST(HedgeStore, WhatNothingCanMendEndsTheReadAtOnce) {
  World w;
  w.learn();
  SlowStore::Answer changed = late(milliseconds(40));
  changed.status = {Code::kPrecondition, "the object changed"};
  changed.retryable = false;
  w.next_answer(changed);
  w.next_answer(late(seconds(5)), 1);
  const TimePoint began = w.clock.now();
  auto read = w.begin();
  w.executor.run_all();
  EXPECT_EQ(read->outcome->status.code(), Code::kPrecondition);
  EXPECT_EQ(read->at - began, milliseconds(40));
  EXPECT_EQ(w.slow->under_way, 0u);
}

TEST(HedgeStore, AtMostThreeInAHundredAreReadTwice) {
  World w({.quantile = 0.5});  // else what a quarter of the reads takes would be usual soon
  w.learn();
  uint64_t n = 0;
  for (int round = 0; round < 100; ++round) {  // every fourth read is late
    for (int i = 0; i < 20; ++i, ++n) {
      if (i % 4 == 0) w.next_answer(late(milliseconds(400)));
      w.begin();
    }
    w.executor.run_all();
  }
  EXPECT_GE(w.metrics.hedges.value(), 20u);
  EXPECT_LE(static_cast<double>(w.metrics.hedges.value()), 0.03 * static_cast<double>(n + 300) + 1);
}

TEST(HedgeStore, AStallOfEverythingIsNotAskedForAgain) {
  World w;
  w.learn(5000);  // much could be saved up by now
  w.slow->usual = late(seconds(3));
  for (int i = 0; i < 400; ++i) w.begin();
  w.executor.run_all();
  EXPECT_EQ(w.metrics.hedges.value(), 0u);
}

TEST(HedgeStore, TheFirstToComeBackSayNothingAboutTheRest) {
  World w;
  for (int i = 0; i < 256; ++i) {  // sent at once; evenly 10 to 112 ms, but for two that take 3 s
    w.next_answer(i % 100 == 50 ? late(seconds(3)) : late(milliseconds(10) + i * std::chrono::microseconds(400)), i);
  }
  std::vector<std::shared_ptr<World::Pending>> reads;
  for (int i = 0; i < 256; ++i) reads.push_back(w.begin());
  w.executor.run_all();
  EXPECT_GE(w.metrics.hedges_won.value(), 2u);
  EXPECT_LE(w.metrics.hedges.value(), 8u);  // 3 in 100, and the first
  for (const auto& read : reads) EXPECT_LT(read->at - TimePoint(), milliseconds(400));
}

TEST(HedgeStore, TheLastSecondReadingsAreKeptForTheVeryLate) {
  World w;
  for (int i = 0; i < 200; ++i) w.begin();  // 7 saved, the reserve is 8
  w.executor.run_all();
  w.next_answer(late(milliseconds(80)));
  w.begin();
  w.executor.run_all();
  EXPECT_EQ(w.metrics.hedges.value(), 0u);
  w.next_answer(late(milliseconds(800)));
  const TimePoint began = w.clock.now();
  auto read = w.begin();
  w.executor.run_all();
  EXPECT_EQ(w.metrics.hedges_won.value(), 1u);
  EXPECT_LE(read->at - began, milliseconds(3 * 33 + 21));
}

TEST(HedgeStore, BeforeAnythingIsKnownASecondIsLate) {
  World w({.reserve = 0});
  w.next_answer(late(seconds(5)));
  auto read = w.begin();
  w.executor.run_all();
  EXPECT_EQ(read->at - TimePoint(), std::chrono::milliseconds(1021));
}

TEST(HedgeStore, NothingIsReadTwiceWhileTheStoreAsksToSlowDown) {
  World w;
  w.learn(1000);
  SlowStore::Answer no = late(milliseconds(5));
  no.status = throttled("slow down");
  no.throttled = true;
  w.next_answer(no);
  w.begin();
  w.next_answer(late(seconds(4)));
  auto read = w.begin();
  w.executor.run_all();
  EXPECT_EQ(w.metrics.hedges.value(), 0u);
  EXPECT_TRUE(read->good());
  w.clock.advance(seconds(5));
  w.next_answer(late(seconds(4)));
  w.begin();
  w.executor.run_all();
  EXPECT_EQ(w.metrics.hedges.value(), 1u);
}

TEST(HedgeStore, WithoutMemoryThereIsNoSecondReading) {
  World w;
  w.learn();
  w.next_answer(late(seconds(1)));
  auto poor = std::make_shared<Spare>(w.executor, false);
  auto read = w.begin(poor);
  w.executor.run_all();
  EXPECT_GT(poor->asked, 1);  // asked again while it is late: memory may have become free
  EXPECT_EQ(w.metrics.hedges.value(), 0u);
  EXPECT_TRUE(read->good());
}

TEST(HedgeStore, AReadWithoutASpareIsPassedThrough) {
  World w;
  w.learn();
  w.next_answer(late(seconds(1)));
  auto read = w.begin(nullptr, {});
  w.executor.run_all();
  EXPECT_TRUE(read->good());
  EXPECT_EQ(w.metrics.hedges.value(), 0u);
}

TEST(HedgeStore, ReadsOfAnotherSizeDoNotCount) {
  World w;
  w.learn(1000);  // of 1,000 bytes: 20 ms
  w.slow->usual = late(milliseconds(900));
  auto read = w.begin(w.spare, {}, 4 << 20);  // of 4 MiB nothing is known, and it is not a second
  w.executor.run_all();
  EXPECT_TRUE(read->good());
  EXPECT_EQ(w.metrics.hedges.value(), 0u);
}

TEST(HedgeStore, WhereAllTakeTheirTimeNoneIsLate) {
  World w;
  for (int i = 0; i < 2000; ++i) {  // 20 to 29 ms, evenly: the slowest is less than 1.5 x the median
    w.next_answer(late(milliseconds(20 + i % 10)));
    w.begin();
    w.executor.run_all();
  }
  EXPECT_EQ(w.metrics.hedges.value(), 0u);
}

TEST(HedgeStore, AStopEndsBothAndTheCallerIsToldOnce) {
  World w;
  w.learn();
  w.next_answer(late(seconds(30)));
  w.next_answer(late(seconds(30)), 1);
  std::stop_source stop;
  auto read = w.begin(stop.get_token());
  w.executor.post_at(w.clock.now() + milliseconds(100), [&] { stop.request_stop(); });
  w.executor.post_at(w.clock.now() + milliseconds(101), [&] {
    EXPECT_EQ(read->times, 1);
    EXPECT_EQ(read->outcome->status.code(), Code::kCancelled);
    EXPECT_EQ(w.slow->under_way, 0u);
    EXPECT_EQ(w.spare->held, 0);
  });
  w.executor.run_all();
  EXPECT_EQ(w.slow->stopped, 2u);
  EXPECT_EQ(read->times, 1);
}

TEST(HedgeStore, ALoserThatDoesNotStopHoldsItsMemoryUntilItIsThrough) {
  World w;
  w.learn();
  SlowStore::Answer deaf = late(seconds(2));
  deaf.deaf = true;
  w.next_answer(late(milliseconds(40)));
  w.next_answer(deaf, 1);
  auto read = w.begin();
  w.executor.post_at(w.clock.now() + seconds(1), [&] {
    EXPECT_TRUE(read->good());
    EXPECT_EQ(w.spare->held, 1);
  });
  w.executor.run_all();
  EXPECT_EQ(w.spare->held, 0);
  EXPECT_EQ(read->times, 1);
}

TEST(HedgeStore, AFirstThatDoesNotStopIsAwaitedForItWritesIntoTheSameMemory) {
  World w;
  w.learn();
  SlowStore::Answer deaf = late(seconds(2));
  deaf.deaf = true;
  deaf.flip = true;
  w.next_answer(deaf);
  const TimePoint began = w.clock.now();
  auto read = w.begin();
  w.executor.run_all();
  EXPECT_TRUE(read->good());  // what it wrote last was overwritten
  EXPECT_EQ(read->at - began, seconds(2));
  EXPECT_EQ(w.metrics.hedges_won.value(), 1u);
}

}  // namespace
}  // namespace headrace
