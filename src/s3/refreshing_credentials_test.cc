// SPDX-License-Identifier: Apache-2.0
//
// When credentials are renewed, by how many questions, and what is said while that fails.
#include "s3/refreshing_credentials.h"

#include <gtest/gtest.h>

#include <atomic>

#include "s3/control_http.h"
#include "net/testing/script_server.h"
#include "s3/testing/fake_world.h"

namespace headrace {
namespace {

using std::chrono::seconds;

class ListSource final : public CredentialSource {
 public:
  Result<Credentials> fetch(std::stop_token) override {
    ++fetches;
    if (!failure.ok()) return failure;
    const std::string id = "ID" + std::to_string(number);
    return Credentials{id, Secret("s"), Secret("t"), expires, "a list"};
  }
  int fetches = 0;
  int number = 1;
  std::optional<int64_t> expires;
  Status failure;
};

class RefreshingTest : public ::testing::Test {
 protected:
  void make(int64_t life_seconds) {
    source_->expires = clock_.unix_seconds() + life_seconds;
    auto first = std::make_shared<const Credentials>(*source_->fetch({}));
    source_->fetches = 0;
    provider_ = std::make_shared<RefreshingCredentials>(source_, first, worker_, clock_, 1);
  }
  std::string id() {
    const auto now = provider_->current();
    worker_->run_ready();
    return now ? now->access_key_id : "none";
  }
  Status refresh(std::shared_ptr<const Credentials> seen) {
    Status status = internal_error("not told");
    provider_->refresh(std::move(seen), [&](auto result) { status = result.status(); });
    worker_->run_ready();
    return status;
  }
  void renew(int number, int64_t life_seconds) {
    source_->number = number;
    source_->expires = clock_.unix_seconds() + life_seconds;
  }

  ManualClock clock_;
  std::shared_ptr<ManualExecutor> worker_ = std::make_shared<ManualExecutor>(clock_);
  std::shared_ptr<ListSource> source_ = std::make_shared<ListSource>();
  std::shared_ptr<RefreshingCredentials> provider_;
};

TEST_F(RefreshingTest, RenewsBetweenFifteenAndTenMinutesAheadInTheBackground) {
  make(3600);
  clock_.advance(seconds(3600 - 901));
  EXPECT_EQ(id(), "ID1");
  EXPECT_EQ(source_->fetches, 0);
  renew(2, 3600);
  clock_.advance(seconds(301));      // ten minutes before the expiry
  EXPECT_EQ(id(), "ID1");            // the request that starts it does not wait
  EXPECT_EQ(source_->fetches, 1);
  EXPECT_EQ(id(), "ID2");
  EXPECT_EQ(source_->fetches, 1);
}

TEST_F(RefreshingTest, ShortLivesAreRenewedInTheirLastQuarter) {
  make(300);  // an S3 Express session
  clock_.advance(seconds(224));
  id();
  EXPECT_EQ(source_->fetches, 0);
  clock_.advance(seconds(27));
  id();
  EXPECT_EQ(source_->fetches, 1);
}

TEST_F(RefreshingTest, OneQuestionForAllWhoWait) {
  make(3600);
  clock_.advance(seconds(3600));
  EXPECT_EQ(provider_->current(), nullptr);
  renew(2, 3600);
  int told = 0;
  for (int i = 0; i < 500; ++i) provider_->refresh(nullptr, [&](auto result) { told += result.ok(); });
  EXPECT_EQ(told, 0);
  worker_->run_ready();
  EXPECT_EQ(told, 500);
  EXPECT_EQ(source_->fetches, 1);
}

TEST_F(RefreshingTest, AFailingRenewalIsAnErrorOnlyWhenTheOldOnesAreGone) {
  make(3600);
  source_->failure = unavailable("the service is down");
  clock_.advance(seconds(3000));
  EXPECT_EQ(id(), "ID1");
  EXPECT_EQ(source_->fetches, 1);
  clock_.advance(seconds(29));
  EXPECT_EQ(id(), "ID1");
  EXPECT_EQ(source_->fetches, 1);  // not at every request
  clock_.advance(seconds(31));
  EXPECT_EQ(id(), "ID1");
  EXPECT_EQ(source_->fetches, 2);
  clock_.advance(seconds(600));
  EXPECT_EQ(provider_->current(), nullptr);
  EXPECT_EQ(refresh(nullptr).code(), Code::kUnavailable);
  const int fetches = source_->fetches;
  EXPECT_EQ(refresh(nullptr).message(), "the service is down");
  EXPECT_EQ(source_->fetches, fetches);  // told again without asking again
  clock_.advance(seconds(5));
  source_->failure = {};
  renew(2, 3600);
  EXPECT_TRUE(refresh(nullptr).ok());
  EXPECT_EQ(id(), "ID2");
}

TEST_F(RefreshingTest, RefusedOnesAreReplacedOnceHoweverManyNotice) {
  make(3600);
  const auto old = provider_->current();
  renew(2, 3600);
  EXPECT_TRUE(refresh(old).ok());
  EXPECT_TRUE(refresh(old).ok());
  EXPECT_EQ(source_->fetches, 1);
}

TEST_F(RefreshingTest, SaysThatTheSourceHasNoNewerOnes) {
  make(3600);
  const Status status = refresh(provider_->current());
  EXPECT_EQ(status.code(), Code::kPermission);
  EXPECT_NE(status.message().find("no newer ones"), std::string::npos);
  EXPECT_EQ(id(), "ID1");
}

TEST_F(RefreshingTest, WhatArrivesExpiredIsAnError) {
  make(3600);
  renew(2, -5);
  EXPECT_EQ(refresh(provider_->current()).code(), Code::kPermission);
  EXPECT_EQ(provider_->current(), nullptr);
}

TEST_F(RefreshingTest, WithoutExpiryNothingIsAskedAgain) {
  source_->expires = std::nullopt;
  provider_ = std::make_shared<RefreshingCredentials>(
      source_, std::make_shared<const Credentials>(*source_->fetch({})), worker_, clock_, 1);
  clock_.advance(std::chrono::hours(24 * 365));
  EXPECT_EQ(id(), "ID1");
  EXPECT_EQ(source_->fetches, 1);
}

// With real threads: a slow service, many askers, the provider gone before the answer.
class SlowSource final : public CredentialSource {
 public:
  Result<Credentials> fetch(std::stop_token stop) override {
    ++fetches;
    std::mutex mutex;
    std::condition_variable_any wake;
    std::unique_lock lock(mutex);
    wake.wait_for(lock, stop, delay, [] { return false; });
    if (stop.stop_requested()) return cancelled("stopped");
    return Credentials{"NEW", Secret("s"), Secret(), std::nullopt, "slow"};
  }
  std::atomic<int> fetches{0};
  Nanos delay = std::chrono::milliseconds(20);
};

TEST(RefreshingThreads, ManyThreadsOneQuestion) {
  auto source = std::make_shared<SlowSource>();
  auto provider = std::make_shared<RefreshingCredentials>(source, nullptr, std::make_shared<PassingThreads>(),
                                                          SystemClock::instance(), 1);
  std::atomic<int> told{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 50; ++k) provider->refresh(nullptr, [&](auto result) { told += result.ok(); });
    });
  }
  for (std::thread& thread : threads) thread.join();
  while (told < 400) std::this_thread::yield();
  EXPECT_EQ(source->fetches, 1);
  EXPECT_EQ(provider->current()->access_key_id, "NEW");
}

TEST(RefreshingThreads, GoingAwayStopsTheQuestion) {
  auto source = std::make_shared<SlowSource>();
  source->delay = seconds(60);
  const TimePoint start = SystemClock::instance().now();
  {
    auto provider = std::make_shared<RefreshingCredentials>(source, nullptr, std::make_shared<PassingThreads>(),
                                                            SystemClock::instance(), 1);
    provider->refresh(nullptr, [](auto) {});
    while (source->fetches == 0) std::this_thread::yield();
  }
  EXPECT_LT(SystemClock::instance().now() - start, seconds(20));
}

TEST(ControlHttp, AsksARealServerAgainWhenItFailsAndPassesProxiesByWhenTold) {
  ::setenv("http_proxy", "http://127.0.0.1:1", 1);  // nobody listens there
  for (const bool direct : {true, false}) {
    std::atomic<int> requests{0};
    testing::ScriptServer server([&](testing::Peer& peer) {
      while (!peer.read_request().empty()) {
        const bool good = ++requests == 2;
        peer.send(good ? "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
                       : "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
      }
    });
    ControlRequest request;
    request.endpoint = server.endpoint();
    request.direct = direct;
    const auto reply = NetControlHttp().ask(request, {});
    EXPECT_EQ(reply.ok(), direct) << reply.status().message();
    EXPECT_EQ(requests, direct ? 2 : 0);
    if (direct) {
      EXPECT_EQ(reply->text, "hi");
    }
  }
  ::unsetenv("http_proxy");
}

TEST(ControlHttp, IsBoundedInTimeAndEndsWhenStopped) {
  testing::ScriptServer silent([](testing::Peer& peer) { peer.wait_closed(); });
  ControlRequest request;
  request.endpoint = silent.endpoint();
  request.timeout = std::chrono::milliseconds(50);
  request.attempts = 2;
  for (const bool direct : {true, false}) {
    request.direct = direct;
    EXPECT_EQ(NetControlHttp().ask(request, {}).status().code(), Code::kTimeout);
  }
  std::stop_source stop;
  stop.request_stop();
  request.timeout = seconds(60);
  EXPECT_EQ(NetControlHttp().ask(request, stop.get_token()).status().code(), Code::kCancelled);
}

}  // namespace
}  // namespace headrace
