// SPDX-License-Identifier: Apache-2.0
#include "net/event_loop.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <future>

namespace headrace {
namespace {

using namespace std::chrono_literals;

// Runs `task` on the loop and waits for it.
template <class F>
void on_loop(EventLoop& loop, F task) {
  std::promise<void> done;
  loop.post([&] {
    task();
    done.set_value();
  });
  ASSERT_EQ(done.get_future().wait_for(10s), std::future_status::ready);
}

TEST(EventLoop, RunsPostsInOrderOnItsOwnThread) {
  EventLoop loop("test");
  std::vector<int> order;
  bool on_thread = false;
  for (int i = 0; i < 100; ++i) loop.post([&order, i] { order.push_back(i); });
  on_loop(loop, [&] { on_thread = loop.on_loop_thread(); });

  EXPECT_TRUE(on_thread);
  EXPECT_FALSE(loop.on_loop_thread());
  ASSERT_EQ(order.size(), 100u);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

TEST(EventLoop, NeverRunsAPostInsideThePost) {
  EventLoop loop("test");
  bool inside = true, ran_inside = false;
  std::promise<void> ran;
  on_loop(loop, [&] {
    loop.post([&] {
      ran_inside = inside;
      ran.set_value();
    });
    inside = false;
  });
  ran.get_future().wait();
  EXPECT_FALSE(ran_inside);
}

TEST(EventLoop, RunsTimersByTimeNotByOrderOfAsking) {
  EventLoop loop("test");
  std::vector<int> order;
  std::promise<void> done;
  const TimePoint start = loop.clock().now();
  loop.post_at(start + 30ms, [&] {
    order.push_back(3);
    done.set_value();
  });
  loop.post_at(start + 10ms, [&] { order.push_back(1); });
  loop.post_at(start + 20ms, [&] { order.push_back(2); });
  loop.post_at(start - 1ms, [&] { order.push_back(0); });

  ASSERT_EQ(done.get_future().wait_for(10s), std::future_status::ready);
  EXPECT_EQ(order, (std::vector{0, 1, 2, 3}));
  EXPECT_GE(loop.clock().now() - start, 30ms);
}

TEST(EventLoop, GivesNoEventAfterUnwatchNotEvenOfTheSameWakeUp) {
  EventLoop loop("test");
  int pipes[2][2];
  for (auto& ends : pipes) ASSERT_EQ(::pipe2(ends, O_NONBLOCK), 0);
  // Whichever handler runs first takes the other out.
  struct Handler final : FdHandler {
    void on_events(uint32_t) override {
      ++events;
      loop->unwatch(other_fd, other);
      loop->unwatch(fd, this);
      if (done) done->set_value();
    }
    EventLoop* loop = nullptr;
    int fd = -1, other_fd = -1, events = 0;
    Handler* other = nullptr;
    std::promise<void>* done = nullptr;
  } handlers[2];
  std::promise<void> done;
  for (int i = 0; i < 2; ++i) {
    handlers[i].loop = &loop;
    handlers[i].fd = pipes[i][0];
    handlers[i].other_fd = pipes[1 - i][0];
    handlers[i].other = &handlers[1 - i];
    handlers[i].done = &done;
    ASSERT_EQ(::write(pipes[i][1], "x", 1), 1);  // both are readable in the first wait
  }
  on_loop(loop, [&] {
    for (auto& handler : handlers) ASSERT_TRUE(loop.watch(handler.fd, EPOLLIN, &handler).ok());
  });
  done.get_future().wait();
  on_loop(loop, [] {});

  EXPECT_EQ(handlers[0].events + handlers[1].events, 1);
  for (auto& ends : pipes) ::close(ends[0]), ::close(ends[1]);
}

TEST(EventLoop, RearmChangesWhatIsWatched) {
  EventLoop loop("test");
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_NONBLOCK), 0);
  struct Handler final : FdHandler {
    void on_events(uint32_t events) override {
      seen = events;
      loop->unwatch(fd, this);
      done.set_value();
    }
    EventLoop* loop = nullptr;
    int fd = -1;
    uint32_t seen = 0;
    std::promise<void> done;
  } handler;
  handler.loop = &loop;
  handler.fd = ends[1];
  on_loop(loop, [&] {
    ASSERT_TRUE(loop.watch(ends[1], 0, &handler).ok());
    loop.rearm(ends[1], EPOLLOUT, &handler);
  });
  handler.done.get_future().wait();
  EXPECT_EQ(handler.seen, static_cast<uint32_t>(EPOLLOUT));
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST(EventLoop, SaysWhenASocketCannotBeWatched) {
  EventLoop loop("test");
  struct Silent final : FdHandler {
    void on_events(uint32_t) override {}
  } handler;
  Status status;
  on_loop(loop, [&] { status = loop.watch(-1, EPOLLIN, &handler); });
  EXPECT_EQ(status.code(), Code::kExhausted);
}

TEST(EventLoop, RunsWhatWasPostedBeforeStopAndDropsWhatComesAfter) {
  EventLoop loop("test");
  std::atomic<int> ran{0};
  auto token = std::make_shared<int>(0);
  for (int i = 0; i < 10; ++i) loop.post([&] { ++ran; });
  loop.stop();
  loop.post([&ran, token] { ++ran; });
  loop.stop();  // again is fine

  EXPECT_EQ(ran, 10);
  EXPECT_EQ(token.use_count(), 1);  // the dropped task is gone, not kept
}

}  // namespace
}  // namespace headrace
