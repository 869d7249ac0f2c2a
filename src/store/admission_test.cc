// SPDX-License-Identifier: Apache-2.0
//
// Admission in virtual time: its rules one by one, and what becomes of them when processes meet on one store
// (testing_capped_store.h). The bounds of the worlds are those that are asked of the real thing (bench/README.md).
#include "store/admission.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "store/testing_capped_store.h"

namespace headrace {
namespace {

using namespace testing_capped;
using std::chrono::milliseconds;
using std::chrono::seconds;

struct Someone final : Admission::Waiter {
  explicit Someone(std::vector<int>* log, int name) : log(log), name(name) {}
  void admitted() override { log->push_back(name); }
  std::vector<int>* log;
  int name;
};

struct Desk {
  ManualClock clock;
  ManualExecutor executor{clock};
  std::shared_ptr<Admission> admission;
  std::vector<int> log;
  std::vector<std::shared_ptr<Someone>> people;

  explicit Desk(double limit, double start = 0) {
    AdmissionOptions options;
    options.limit_max = limit;
    options.limit_start = start > 0 ? start : limit;
    admission = std::make_shared<Admission>(options, executor, std::make_unique<SeededRandom>(1));
  }
  void wait(int name, uint64_t lane, bool again = false) {
    people.push_back(std::make_shared<Someone>(&log, name));
    ASSERT_FALSE(admission->enter(lane));
    admission->wait(people.back(), lane, again);
  }
  // As wait(), but where there is room it begins at once.
  void want() {
    people.push_back(std::make_shared<Someone>(&log, 0));
    if (!admission->enter(0)) admission->wait(people.back(), 0, false);
  }
  void end(RequestEnd::How how, Nanos took = milliseconds(30), Nanos retry_after = {}) {
    clock.advance(milliseconds(1));
    admission->leave({how, 1000, took, retry_after});
  }
};

TEST(Admission, NoMoreThanTheLimitAndLanesTakeTurns) {
  Desk desk(2);
  EXPECT_TRUE(desk.admission->enter(7));
  EXPECT_TRUE(desk.admission->enter(7));
  for (int i = 0; i < 3; ++i) desk.wait(10 + i, 7);
  for (int i = 0; i < 3; ++i) desk.wait(20 + i, 8);
  desk.wait(30, 9);
  desk.wait(1, 7, true);  // a retry
  EXPECT_TRUE(desk.log.empty());
  for (int i = 0; i < 8; ++i) desk.end(RequestEnd::How::kOk);
  EXPECT_EQ(desk.log, (std::vector<int>{1, 10, 20, 30, 11, 21, 12, 22}));
  EXPECT_EQ(desk.admission->under_way(), 2u);
}

TEST(Admission, WhoGivesUpIsNotAdmittedAndNobodyElseLosesHisTurn) {
  Desk desk(1);
  EXPECT_TRUE(desk.admission->enter(0));
  desk.wait(1, 5);
  desk.wait(2, 5);
  EXPECT_TRUE(desk.admission->give_up(*desk.people[0]));
  EXPECT_FALSE(desk.admission->give_up(*desk.people[0]));
  desk.end(RequestEnd::How::kOk);
  EXPECT_EQ(desk.log, (std::vector<int>{2}));
  EXPECT_FALSE(desk.admission->give_up(*desk.people[1]));
}

TEST(Admission, IsCrowdedForALaneThatHasEnoughWaitingAndNotForOthers) {
  Desk desk(1);
  EXPECT_TRUE(desk.admission->enter(5));
  for (int i = 0; i < 8; ++i) {
    EXPECT_FALSE(desk.admission->crowded(5));
    desk.wait(i, 5);
  }
  EXPECT_TRUE(desk.admission->crowded(5));
  EXPECT_FALSE(desk.admission->crowded(6));
  desk.end(RequestEnd::How::kOk);
  EXPECT_FALSE(desk.admission->crowded(5));
}

TEST(Admission, SlowDownCutsOncePerRoundTrip) {
  Desk desk(100);
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(desk.admission->enter(0));
  for (int i = 0; i < 40; ++i) desk.end(RequestEnd::How::kOk);
  desk.end(RequestEnd::How::kSlowDown);
  const double cut = desk.admission->limit();
  EXPECT_LE(cut, 70.1);
  EXPECT_GE(cut, 49.9);
  for (int i = 0; i < 3; ++i) desk.end(RequestEnd::How::kSlowDown);  // sent before the cut
  EXPECT_EQ(desk.admission->limit(), cut);
  for (int i = 0; i < 20; ++i) desk.end(RequestEnd::How::kOther);  // says nothing
  EXPECT_EQ(desk.admission->limit(), cut);
}

// A store that is down and asks for 20 s is back after one, by a late answer: what is refused then rests for a round
// trip, not for what is left of the 20 s.
TEST(Admission, WhoWaitsBehindARestingPlaceDoesNotWaitForATimerOfAnEarlierOutage) {
  Desk desk(9);
  for (int i = 0; i < 9; ++i) EXPECT_TRUE(desk.admission->enter(0));
  for (int i = 0; i < 40; ++i) desk.wait(i, 0);
  desk.clock.advance(milliseconds(500));
  for (int i = 0; i < 400 && !desk.admission->down(); ++i) {
    desk.end(RequestEnd::How::kLost, milliseconds(30), seconds(20));
  }
  ASSERT_TRUE(desk.admission->down());
  ASSERT_GT(desk.admission->under_way(), 0u);
  desk.end(RequestEnd::How::kOk);  // it was on its way before
  ASSERT_FALSE(desk.admission->down());
  while (desk.admission->under_way() > 0) desk.end(RequestEnd::How::kSlowDown, milliseconds(5));
  const TimePoint refused = desk.clock.now();
  const size_t before = desk.log.size();
  while (desk.log.size() == before) ASSERT_GT(desk.executor.run_all(1), 0u);
  EXPECT_LE(desk.clock.now() - refused, seconds(2));
}

TEST(Admission, AnEndpointThatAnswersNothingIsAskedNowAndThenAndAllGoOnWhenItIsBack) {
  Desk desk(64);
  for (int i = 0; i < 64; ++i) EXPECT_TRUE(desk.admission->enter(0));
  for (int i = 0; i < 50; ++i) desk.wait(i, 0);
  desk.clock.advance(milliseconds(100));
  for (int i = 0; i < 64; ++i) desk.end(RequestEnd::How::kLost);
  EXPECT_TRUE(desk.admission->down());
  desk.log.clear();
  const uint64_t before = desk.admission->under_way();
  for (int questions = 0; questions < 10; ++questions) {
    const size_t asked = desk.log.size();
    const TimePoint began = desk.clock.now();
    while (desk.log.size() == asked) ASSERT_GT(desk.executor.run_all(1), 0u);
    EXPECT_EQ(desk.log.size(), asked + 1);  // one at a time
    EXPECT_GE(desk.clock.now() - began, milliseconds(140));
    EXPECT_LE(desk.clock.now() - began, milliseconds(2600));  // 1.25 s, twice: run_all(1) moves the clock on behind it
    desk.end(RequestEnd::How::kLost);
  }
  const size_t asked = desk.log.size();
  while (desk.log.size() == asked) ASSERT_GT(desk.executor.run_all(1), 0u);
  desk.end(RequestEnd::How::kOk);
  EXPECT_FALSE(desk.admission->down());
  EXPECT_GE(desk.log.size(), asked + 8);
  EXPECT_GE(desk.admission->under_way() + 20, before);
}

TEST(Admission, ADownEndpointThatAsksForTimeGetsIt) {
  Desk desk(32);
  for (int i = 0; i < 32; ++i) EXPECT_TRUE(desk.admission->enter(0));
  desk.clock.advance(milliseconds(100));
  for (int i = 0; i < 32; ++i) desk.end(RequestEnd::How::kSlowDown, milliseconds(5), seconds(7));
  ASSERT_TRUE(desk.admission->down());
  const TimePoint began = desk.clock.now();
  desk.wait(1, 0);
  while (desk.log.empty()) ASSERT_GT(desk.executor.run_all(1), 0u);
  EXPECT_GE(desk.clock.now() - began, milliseconds(6900));
}

TEST(Admission, AnOverloadThatAnswersNowAndThenIsNoOutage) {
  Desk desk(64);
  for (int i = 0; i < 64; ++i) EXPECT_TRUE(desk.admission->enter(0));
  desk.clock.advance(milliseconds(100));
  desk.end(RequestEnd::How::kOk);
  for (int i = 0; i < 40; ++i) desk.end(RequestEnd::How::kSlowDown);  // within 40 ms of it
  EXPECT_FALSE(desk.admission->down());
  EXPECT_LT(desk.admission->limit(), 33);
}

TEST(Admission, APlaceThatWasRefusedSoonRestsAsLongAsAnAnswerTakes) {
  Desk desk(2);
  EXPECT_TRUE(desk.admission->enter(0));
  desk.end(RequestEnd::How::kOk, milliseconds(40));
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(desk.admission->enter(0));
  desk.wait(1, 0);
  desk.end(RequestEnd::How::kSlowDown, milliseconds(5));  // leaves a limit of 1, and one place rests for 35 ms
  desk.end(RequestEnd::How::kOther);
  EXPECT_TRUE(desk.log.empty());
  const TimePoint began = desk.clock.now();
  while (desk.log.empty()) ASSERT_GT(desk.executor.run_all(1), 0u);
  EXPECT_GE(desk.clock.now() - began, milliseconds(33));
  EXPECT_LE(desk.clock.now() - began, milliseconds(35));
}

TEST(Admission, WhoComesBackAndGoesDownAtOnceComesBackWithLess) {
  Desk desk(64);
  const auto go_down = [&] {
    while (desk.admission->enter(0)) {}
    desk.wait(0, 0);
    desk.clock.advance(milliseconds(200));
    while (desk.admission->under_way() > 0) desk.end(RequestEnd::How::kSlowDown, milliseconds(1));
  };
  const auto come_back = [&] {
    desk.log.clear();
    while (desk.log.empty()) EXPECT_GT(desk.executor.run_all(1), 0u);
    desk.end(RequestEnd::How::kOk);
    return desk.admission->limit();
  };
  for (int i = 0; i < 64; ++i) EXPECT_TRUE(desk.admission->enter(0));
  desk.clock.advance(milliseconds(200));
  desk.wait(0, 0);
  for (int i = 0; i < 64; ++i) desk.end(RequestEnd::How::kSlowDown, milliseconds(1));
  ASSERT_TRUE(desk.admission->down());
  const double first = come_back();
  for (int tries = 0; tries < 20 && !desk.admission->down(); ++tries) go_down();
  ASSERT_TRUE(desk.admission->down());
  EXPECT_LE(come_back(), first / 3);
}

// An index and the first blocks are read in ranges of megabytes, then single samples are.
TEST(Admission, SmallerAnswersAreNoKnee) {
  Desk desk(64, 4);
  for (int i = 0; i < 100; ++i) desk.want();
  for (const uint64_t bytes : {4'000'000, 4'000'000, 20'000, 20'000, 20'000}) {
    const uint64_t places = desk.admission->under_way();
    for (int i = 0; i < 100; ++i) desk.want();
    desk.clock.advance(milliseconds(30));
    for (uint64_t i = 0; i < places; ++i) desk.admission->leave({RequestEnd::How::kOk, bytes, milliseconds(30), {}});
  }
  EXPECT_EQ(desk.admission->limit(), 64);
}

// The last answers of before come half a second into an outage. Each question that is then refused was one of
// another trouble, and eight of them were waited for, one a second.
TEST(Admission, ALateAnswerDoesNotHideAnOutageNorWhatWasUnderWayBefore) {
  Desk desk(100, 100);
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(desk.admission->enter(0));
  for (int i = 0; i < 500; ++i) desk.wait(i, 0);
  for (int i = 0; i < 200; ++i) desk.end(RequestEnd::How::kOk);
  const double before = desk.admission->limit();
  for (int i = 0; i < 90; ++i) desk.admission->leave({RequestEnd::How::kSlowDown, 0, milliseconds(5), {}});
  desk.clock.advance(milliseconds(80));
  for (int i = 0; i < 4; ++i) desk.admission->leave({RequestEnd::How::kSlowDown, 0, milliseconds(5), {}});
  desk.clock.advance(milliseconds(220));
  desk.admission->leave({RequestEnd::How::kOk, 1000, milliseconds(300), {}});
  const TimePoint away = desk.clock.now();
  while (!desk.admission->down()) {
    ASSERT_LE(desk.clock.now() - away, seconds(3));
    if (desk.admission->under_way() == 0) ASSERT_GT(desk.executor.run_all(1), 0u);
    if (desk.admission->under_way() > 0) desk.end(RequestEnd::How::kSlowDown, milliseconds(5));
  }
  while (desk.admission->under_way() > 0) desk.end(RequestEnd::How::kSlowDown, milliseconds(5));
  desk.log.clear();
  while (desk.log.empty()) ASSERT_GT(desk.executor.run_all(1), 0u);
  const TimePoint back = desk.clock.now();
  while (desk.clock.now() - back < seconds(2)) {
    if (desk.admission->under_way() == 0) ASSERT_GT(desk.executor.run_all(1), 0u);
    desk.clock.advance(milliseconds(30));
    for (uint64_t i = desk.admission->under_way(); i > 0; --i) {
      desk.want();
      desk.admission->leave({RequestEnd::How::kOk, 1000, milliseconds(30), {}});
    }
  }
  EXPECT_GE(desk.admission->limit(), 0.75 * before);
}

TEST(Admission, AFewBrokenConnectionsCutNothing) {
  Desk desk(64);
  for (int i = 0; i < 64; ++i) EXPECT_TRUE(desk.admission->enter(0));
  const double before = desk.admission->limit();
  for (int i = 0; i < 1000; ++i) {
    EXPECT_TRUE(i == 0 || desk.admission->enter(0));
    desk.end(i % 20 == 0 ? RequestEnd::How::kLost : RequestEnd::How::kOk);
  }
  EXPECT_GE(desk.admission->limit(), before);
}

// ---- worlds

// Eight processes on 60 requests a second, 3 ms each: each has a 44th of a request under way. They were refused nine
// of ten, and got 4 % of the rate where the store asked for three seconds each time.
TEST(AdmissionWorlds, AStoreThatBearsFarLessThanOneRequestOfEachAtATimeIsUsedUpWithoutAStorm) {
  for (int retry_after : {0, 3}) {
    CapSpec spec;
    spec.requests_per_s = 60;
    spec.first_byte = milliseconds(3);
    spec.retry_after = seconds(retry_after);
    Crowd crowd(spec, 8);
    crowd.start();
    crowd.run(seconds(10));
    const uint64_t asked = crowd.store->asked, refused = crowd.store->refused;
    EXPECT_GE(sum(crowd.run(seconds(30))), 30u * 60 * 9 / 10);
    EXPECT_LE((crowd.store->refused - refused) * 5, crowd.store->asked - asked);
    crowd.finish();
    for (auto& client : crowd.clients) EXPECT_EQ(client->failed, 0u) << client->failure;
  }
}

TEST(AdmissionWorlds, AStoreCappedAt5500IsUsedUpByOneProcessAndByEight) {
  for (size_t n : {1u, 8u}) {
    double slowest = 0;
    for (uint64_t seed = 1; seed <= 3; ++seed) {
      CapSpec spec;
      spec.requests_per_s = 5500;
      Crowd crowd(spec, n, {}, seed);
      crowd.start();
      const std::vector<uint64_t> done = crowd.run(seconds(30));
      EXPECT_GE(static_cast<double>(sum(done)), 0.9 * 30 * 5500) << n;
      EXPECT_LE(crowd.store->refused * 100, crowd.store->asked) << n;
      slowest += static_cast<double>(*std::ranges::min_element(done) * n) / static_cast<double>(sum(done)) / 3;
      crowd.finish();
      EXPECT_EQ(crowd.clients[0]->failed, 0u) << crowd.clients[0]->failure;
    }
    EXPECT_GE(slowest, 0.8) << n;
  }
}

TEST(AdmissionWorlds, ThirtyTwoProcessesThatStartAtOnceAreRefusedLessThanOneInAHundred) {
  for (uint64_t seed = 1; seed <= 2; ++seed) {
    CapSpec spec;
    spec.requests_per_s = 5500;
    Crowd crowd(spec, 32, {}, seed);
    crowd.start();
    crowd.run(seconds(30));
    EXPECT_LT(crowd.store->refused * 100, crowd.store->asked);
    EXPECT_GE(crowd.store->asked, 30u * 5500 * 9 / 10);
    crowd.finish();
  }
}

TEST(AdmissionWorlds, TenSecondsOf503CostAFifthAtMostAndTheRateIsBackWithinFive) {
  for (size_t n : {1u, 8u}) {
    for (const auto& [cap, late] : {std::pair(0.0, 0), {3000.0, 0}, {0.0, 300}, {3000.0, 300}}) {
      CapSpec spec;
      spec.late = milliseconds(late);  // answers to what was sent before come while all else is refused
      spec.away_from = seconds(10);
      spec.away_until = seconds(20);
      spec.requests_per_s = cap;
      spec.bytes_per_s = 300e6;  // 2,609 reads a second
      Crowd crowd(spec, n);
      crowd.start();
      crowd.run(seconds(5));
      const double usual = static_cast<double>(sum(crowd.run(seconds(5)))) / 5;
      const uint64_t refused = crowd.store->refused;
      crowd.run(seconds(10));
      EXPECT_LE(static_cast<double>(crowd.store->refused - refused), 0.2 * 10 * usual);
      crowd.run(seconds(5));
      EXPECT_GE(static_cast<double>(sum(crowd.run(seconds(2)))) / 2, 0.9 * usual);
      crowd.finish();
      for (auto& client : crowd.clients) EXPECT_EQ(client->failed, 0u) << client->failure;
    }
  }
}

TEST(AdmissionWorlds, TheKneeOfAFullLineIsFoundAndTheRateIsKept) {
  CapSpec spec;
  spec.bytes_per_s = 1e9;  // 8,696 reads a second: 261 at 30 ms
  Crowd crowd(spec, 1);
  crowd.start();
  crowd.run(seconds(20));
  const double rate = static_cast<double>(sum(crowd.run(seconds(5)))) / 5;
  EXPECT_GE(rate, 0.93 * 8696);
  EXPECT_LE(crowd.admissions[0]->limit(), 450);
  EXPECT_GE(crowd.admissions[0]->limit(), 230);
  crowd.finish();
}

TEST(AdmissionWorlds, AStoreWithoutALimitGetsTheCap) {
  Crowd crowd({}, 1);
  crowd.start();
  crowd.run(milliseconds(400));
  EXPECT_GE(crowd.admissions[0]->limit(), 500);  // doubled each 30 ms
  crowd.run(seconds(30));
  EXPECT_GE(crowd.admissions[0]->limit(), 500);
  EXPECT_LE(crowd.store->under_way_max, 768u);
  crowd.finish();
}

TEST(AdmissionWorlds, LoadersOfOneProcessShareItEvenly) {
  CapSpec spec;
  spec.bytes_per_s = 200e6;
  Crowd crowd(spec, 1);
  for (uint64_t lane = 2; lane <= 4; ++lane) {
    crowd.clients.push_back(std::make_unique<Client>(crowd.store, crowd.admissions[0], lane, lane));
  }
  crowd.start();
  const std::vector<uint64_t> done = crowd.run(seconds(10));
  EXPECT_GE(*std::ranges::min_element(done) * 100, *std::ranges::max_element(done) * 95);
  crowd.finish();
}

}  // namespace
}  // namespace headrace
