// SPDX-License-Identifier: Apache-2.0
#include "net/resolver.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>

namespace headrace {
namespace {

using namespace std::chrono_literals;

Resolved ask(Resolver& resolver, const std::string& host) {
  std::promise<Resolved> promise;
  resolver.resolve(host, 80, [&](Resolved answer) { promise.set_value(std::move(answer)); });
  return promise.get_future().get();
}

TEST(SocketAddress, ReadsLiteralsOnly) {
  EXPECT_EQ(SocketAddress::parse("127.0.0.1", 9000)->text(), "127.0.0.1:9000");
  EXPECT_EQ(SocketAddress::parse("::1", 443)->text(), "[::1]:443");
  EXPECT_FALSE(SocketAddress::parse("localhost", 80));
  EXPECT_FALSE(SocketAddress::parse("127.1", 80));
  EXPECT_FALSE(SocketAddress::parse("", 80));
}

TEST(SystemResolver, AnswersLiteralsInsideTheCallWithoutALookup) {
  SystemResolver resolver(SystemClock::instance(), [](const std::string&, uint16_t) -> Resolved {
    ADD_FAILURE() << "looked up";
    return internal_error("");
  });
  bool answered = false;
  resolver.resolve("10.1.2.3", 80,
                   [&](Resolved answer) { answered = answer.ok() && answer->size() == 1; });
  EXPECT_TRUE(answered);
}

TEST(SystemResolver, KeepsAGoodAnswerForThirtySecondsAndABadOneNotAtAll) {
  ManualClock clock;
  std::atomic<int> lookups{0};
  SystemResolver resolver(clock, [&](const std::string& host, uint16_t port) -> Resolved {
    ++lookups;
    if (host == "bad") return unavailable("no such name");
    return std::vector{*SocketAddress::parse("10.0.0.1", port)};
  });

  EXPECT_TRUE(ask(resolver, "good").ok());
  clock.advance(29s);
  EXPECT_TRUE(ask(resolver, "good").ok());
  EXPECT_EQ(lookups, 1);
  clock.advance(2s);
  EXPECT_TRUE(ask(resolver, "good").ok());
  EXPECT_EQ(lookups, 2);
  EXPECT_FALSE(ask(resolver, "bad").ok());
  EXPECT_FALSE(ask(resolver, "bad").ok());
  EXPECT_EQ(lookups, 4);
}

TEST(SystemResolver, AsksOnceForManyWhoWait) {
  std::promise<void> go;
  auto gone = go.get_future().share();
  std::atomic<int> lookups{0}, answers{0};
  {
    SystemResolver resolver(SystemClock::instance(),
                            [&](const std::string&, uint16_t port) -> Resolved {
                              ++lookups;
                              gone.wait();
                              return std::vector{*SocketAddress::parse("10.0.0.1", port)};
                            });
    for (int i = 0; i < 5; ++i)
      resolver.resolve("name", 80, [&](Resolved answer) { answers += answer.ok(); });
    EXPECT_EQ(answers, 0);
    go.set_value();
    EXPECT_TRUE(ask(resolver, "name").ok());
  }
  EXPECT_EQ(answers, 5);
  EXPECT_LE(lookups, 2);  // a second only where ask() came between the answer and its keeping
}

TEST(SystemResolver, EndsWaitingQuestionsWhenDestroyed) {
  std::promise<void> started, go;
  std::promise<Code> second;
  std::thread release;
  {
    SystemResolver resolver(SystemClock::instance(), [&](const std::string&, uint16_t) -> Resolved {
      started.set_value();
      go.get_future().wait();
      return unavailable("late");
    });
    resolver.resolve("first", 80, [](Resolved) {});
    started.get_future().wait();
    resolver.resolve("second", 80,
                     [&](Resolved answer) { second.set_value(answer.status().code()); });
    release = std::thread([&] {
      std::this_thread::sleep_for(20ms);  // lets the destructor begin; either order must end well
      go.set_value();
    });
  }
  release.join();
  EXPECT_EQ(second.get_future().get(), Code::kCancelled);
}

TEST(SystemResolver, KnowsLocalhostAndSaysWhatItDoesNotKnow) {
  SystemResolver resolver;
  const Resolved local = ask(resolver, "localhost");
  const Resolved none = ask(resolver, "no-such-name.invalid");  // RFC 6761: never resolves

  ASSERT_TRUE(local.ok()) << local.status().message();
  EXPECT_EQ(none.status().code(), Code::kUnavailable);
  EXPECT_NE(none.status().message().find("no-such-name.invalid"), std::string::npos);
  EXPECT_NE(none.status().message().find("DNS"), std::string::npos);
}

}  // namespace
}  // namespace headrace
