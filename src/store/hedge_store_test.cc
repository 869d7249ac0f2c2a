// SPDX-License-Identifier: Apache-2.0
//
// HedgeStore in virtual time (testing_hedge.h): when a read is made twice, who wins, and what it may cost.
#include "store/hedge_store.h"

#include <gtest/gtest.h>

#include "store/testing_hedge.h"

namespace headrace {
namespace {

using namespace testing_hedge;

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
