// SPDX-License-Identifier: Apache-2.0
//
// How requests of the data path end before their time: nobody listens, cancelled, closed, too late.
#include <gtest/gtest.h>

#include "net/epoll_transport.h"
#include "net/testing/epoll_client.h"

namespace headrace {
namespace {

using namespace std::chrono_literals;
using testing::Client;
using testing::FakeResolver;
using testing::Peer;
using testing::Scatter;
using testing::ScriptServer;
using testing::always;
using testing::get;
using testing::pattern;
using testing::reply;
using testing::send_and_wait;
using testing::send_later;
using testing::wait_for;

TEST(EpollTransport, NamesTheEndpointWhenNothingListens) {
  uint16_t closed_port;
  {
    ScriptServer gone([](Peer&) {});
    closed_port = gone.port();
  }
  Client client;
  HttpRequest request;
  request.endpoint = {.host = "127.0.0.1", .port = closed_port};

  const HttpOutcome outcome = send_and_wait(client.transport, std::move(request));

  EXPECT_EQ(outcome.status.code(), Code::kUnavailable);
  EXPECT_NE(outcome.status.message().find("http://127.0.0.1:" + std::to_string(closed_port)),
            std::string::npos);
  EXPECT_NE(outcome.status.message().find("Connection refused"), std::string::npos);
  EXPECT_NE(outcome.status.message().find("is the endpoint right"), std::string::npos);
  EXPECT_FALSE(outcome.sent);
}

TEST(EpollTransport, GoesOnToTheNextAddressAndAvoidsTheDeadOne) {
  ScriptServer server(always(reply("x", "Connection: close\r\n")));
  // Nothing listens on 127.0.0.2 at this port: refused.
  auto resolver = std::make_shared<FakeResolver>(
      std::vector{*SocketAddress::parse("127.0.0.2", server.port()),
                  *SocketAddress::parse("127.0.0.1", server.port())});
  Client client({}, resolver);

  for (int i = 0; i < 4; ++i) {
    HttpRequest request = get(server);
    request.endpoint.host = "store.test";
    ASSERT_TRUE(send_and_wait(client.transport, std::move(request)).status.ok());
  }

  EXPECT_EQ(server.connections(), 4);
  EXPECT_EQ(resolver->asked, 1);
}

TEST(EpollTransport, SaysThatANameDoesNotResolve) {
  Client client({}, std::make_shared<FakeResolver>(
                        unavailable("resolve host name store.test: DNS: no such name")));
  HttpRequest request;
  request.endpoint.host = "store.test";

  const HttpOutcome outcome = send_and_wait(client.transport, std::move(request));

  EXPECT_EQ(outcome.status.code(), Code::kUnavailable);
  EXPECT_NE(outcome.status.message().find("DNS: no such name"), std::string::npos);
}

// ---- stopping ----

TEST(EpollTransport, CancelsARequestThatWaitsForItsReply) {
  std::promise<void> asked;
  ScriptServer server([&](Peer& peer) {
    peer.read_request();
    asked.set_value();
    peer.wait_closed();
  });
  Client client;
  std::stop_source stop;
  auto outcome = send_later(client.transport, get(server), stop.get_token());
  asked.get_future().wait();

  stop.request_stop();

  EXPECT_EQ(wait_for(std::move(outcome)).status.code(), Code::kCancelled);
  EXPECT_EQ(client.transport.stats().connections, 0u);
}

TEST(EpollTransport, CancelsInTheBodyAndTellsTheGoodBytes) {
  ScriptServer server([&](Peer& peer) {
    peer.read_request();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabcd");
    peer.wait_closed();
  });
  Client client;
  Scatter scatter(9);
  std::stop_source stop;
  HttpRequest request = get(server);
  request.body_into = scatter.pieces;
  request.accept = [&](const HttpReply&) {
    stop.request_stop();  // inside the reading: it must not pull the rug
    return Status();
  };

  const HttpOutcome outcome = send_and_wait(client.transport, std::move(request), stop.get_token());

  EXPECT_EQ(outcome.status.code(), Code::kCancelled);
  EXPECT_EQ(outcome.body_bytes, 4u);
  EXPECT_EQ(scatter.content(), "abcd#####");
}

TEST(EpollTransport, CancelsAQueuedRequestWithoutHarmToTheOthers) {
  std::promise<void> go;
  std::shared_future<void> gone = go.get_future().share();
  ScriptServer server([&](Peer& peer) {
    while (!peer.read_request().empty()) {
      gone.wait();
      peer.send(reply("x"));
    }
  });
  Client client({.connections_max = 1});
  std::stop_source stop;
  auto first = send_later(client.transport, get(server));
  auto second = send_later(client.transport, get(server), stop.get_token());
  auto third = send_later(client.transport, get(server));

  stop.request_stop();
  EXPECT_EQ(wait_for(std::move(second)).status.code(), Code::kCancelled);
  go.set_value();

  EXPECT_TRUE(wait_for(std::move(first)).status.ok());
  EXPECT_TRUE(wait_for(std::move(third)).status.ok());
}

TEST(EpollTransport, RefusesARequestThatWasStoppedBefore) {
  Client client;
  std::stop_source stop;
  stop.request_stop();
  HttpRequest request;
  request.endpoint.host = "127.0.0.1";

  const HttpOutcome outcome = send_and_wait(client.transport, std::move(request), stop.get_token());

  EXPECT_EQ(outcome.status.code(), Code::kCancelled);
  EXPECT_FALSE(outcome.sent);
}

TEST(EpollTransport, EndsEverythingWithCancelledAtClose) {
  ScriptServer server([](Peer& peer) {
    peer.read_request();
    peer.wait_closed();
  });
  Client client({.connections_max = 2});
  std::vector<std::future<HttpOutcome>> outcomes;
  for (int i = 0; i < 5; ++i) outcomes.push_back(send_later(client.transport, get(server)));

  client.transport.close();

  for (auto& outcome : outcomes) {
    ASSERT_EQ(outcome.wait_for(0s), std::future_status::ready);
    EXPECT_EQ(outcome.get().status.code(), Code::kCancelled);
  }
  EXPECT_EQ(send_and_wait(client.transport, get(server)).status.code(), Code::kCancelled);
  EXPECT_EQ(client.transport.stats().connections, 0u);
}

TEST(EpollTransport, MayBeClosedFromACompletion) {
  ScriptServer server(always(reply("x")));
  Client client;
  std::promise<void> closed;

  client.transport.send(get(server),
                        [&](HttpOutcome) {
                          client.transport.close();
                          closed.set_value();
                        },
                        {});

  EXPECT_EQ(closed.get_future().wait_for(10s), std::future_status::ready);
  EXPECT_EQ(send_and_wait(client.transport, get(server)).status.code(), Code::kCancelled);
}

TEST(EpollTransport, CompletesEvenWhenItsLoopHasStopped) {
  ScriptServer server([](Peer& peer) {
    peer.read_request();
    peer.wait_closed();
  });
  std::future<HttpOutcome> under_way, later;
  {
    Client client;
    under_way = send_later(client.transport, get(server));
    client.loop.stop();
    later = send_later(client.transport, get(server));
  }
  EXPECT_EQ(wait_for(std::move(under_way)).status.code(), Code::kCancelled);
  EXPECT_EQ(wait_for(std::move(later)).status.code(), Code::kCancelled);
}

TEST(EpollTransport, NeverCompletesInsideSendOnItsOwnThread) {
  Client client;
  std::promise<bool> inside;
  client.loop.post([&] {
    auto sending = std::make_shared<bool>(true);
    HttpRequest request;
    request.endpoint.host = "127.0.0.1";
    request.target = "no good";  // refused at once
    client.transport.send(std::move(request),
                          [&, sending](HttpOutcome) { inside.set_value(*sending); }, {});
    *sending = false;
  });
  EXPECT_FALSE(inside.get_future().get());
}

TEST(EpollTransport, SurvivesFourThreadsThatSendCancelAndClose) {
  ScriptServer server(always(reply(pattern(300))));
  Client client({.connections_max = 8});
  std::atomic<int> completed{0};
  std::vector<std::thread> threads;

  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        std::stop_source stop;
        client.transport.send(
            get(server), [&](HttpOutcome) { ++completed; }, stop.get_token());
        if (i % 3 == t % 3) stop.request_stop();
        if (t == 3 && i == 150) client.transport.close();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  client.transport.close();

  EXPECT_EQ(completed, 800);
}

// ---- clocks ----

TEST(EpollTransport, GivesUpWhenTheFirstByteIsLate) {
  ScriptServer server([](Peer& peer) {
    peer.read_request();
    peer.wait_closed();
  });
  Client client;
  HttpRequest request = get(server);
  request.first_byte_timeout = 40ms;

  const HttpOutcome outcome = send_and_wait(client.transport, std::move(request));

  EXPECT_EQ(outcome.status.code(), Code::kTimeout);
  EXPECT_NE(outcome.status.message().find("no reply within 40 ms"), std::string::npos)
      << outcome.status.message();
}

TEST(EpollTransport, GivesUpWhenABodyStalls) {
  ScriptServer server([](Peer& peer) {
    peer.read_request();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabcd");
    peer.wait_closed();
  });
  Client client({.stall_timeout = 40ms});
  Scatter scatter(9);
  HttpRequest request = get(server);
  request.body_into = scatter.pieces;

  const HttpOutcome outcome = send_and_wait(client.transport, std::move(request));

  EXPECT_EQ(outcome.status.code(), Code::kTimeout);
  EXPECT_EQ(outcome.body_bytes, 4u);
  EXPECT_NE(outcome.status.message().find("stalled for 40 ms after 4 body bytes"),
            std::string::npos);
}

// 10 bytes every 10 ms, for as long as anybody reads: each would put a plain stall timeout off.
TEST(EpollTransport, GivesUpABodyThatDrips) {
  ScriptServer server([](Peer& peer) {
    peer.read_request();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
    peer.drip("0123456789", 10, 500);
  });
  Client client({.stall_timeout = 100ms});
  Scatter scatter(1'000'000);
  HttpRequest request = get(server);
  request.body_into = scatter.pieces;

  const HttpOutcome outcome = send_and_wait(client.transport, std::move(request));

  EXPECT_EQ(outcome.status.code(), Code::kTimeout);
  EXPECT_NE(outcome.status.message().find(" of them since"), std::string::npos) << outcome.status.message();
}

// Eight times what the limit demands: 100 bytes every 10 ms.
TEST(EpollTransport, EndsABodyThatIsSlowButMoves) {
  ScriptServer server([](Peer& peer) {
    peer.read_request();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n");
    peer.drip(std::string(100, 'x'), 10, 50);
    peer.wait_closed();
  });
  Client client({.stall_timeout = 200ms});
  Scatter scatter(5000);
  HttpRequest request = get(server);
  request.body_into = scatter.pieces;

  const HttpOutcome outcome = send_and_wait(client.transport, std::move(request));

  EXPECT_TRUE(outcome.status.ok()) << outcome.status.message();
}

TEST(EpollTransport, KeepsItsDeadlineWhileQueuedAndWhileServed) {
  ScriptServer server([](Peer& peer) {
    peer.read_request();
    peer.wait_closed();
  });
  Client client({.connections_max = 1});
  HttpRequest served = get(server), queued = get(server);
  served.deadline = queued.deadline = Deadline::after(SystemClock::instance(), 50ms);
  served.deadline.at += 300ms;  // or a busy machine ends both at once, and the queued one gets a turn

  auto first = send_later(client.transport, std::move(served));
  auto second = send_later(client.transport, std::move(queued));

  const HttpOutcome late = wait_for(std::move(second));
  EXPECT_EQ(late.status.code(), Code::kTimeout);
  EXPECT_NE(late.status.message().find("connections_max"), std::string::npos);
  EXPECT_EQ(wait_for(std::move(first)).status.code(), Code::kTimeout);
}

TEST(EpollTransport, GivesUpConnectingToABlackHole) {
  // A listener whose backlog is full drops SYNs: connect() then hangs as with a dead host.
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(fd, 0), 0);
  socklen_t size = sizeof address;
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  const int filler = ::socket(AF_INET, SOCK_STREAM, 0);
  ASSERT_EQ(::connect(filler, reinterpret_cast<sockaddr*>(&address), size), 0);
  Client client({.connect_timeout = 40ms});
  HttpRequest request;
  request.endpoint = {.host = "127.0.0.1", .port = ntohs(address.sin_port)};

  const HttpOutcome outcome = send_and_wait(client.transport, std::move(request));

  EXPECT_EQ(outcome.status.code(), Code::kUnavailable);
  EXPECT_NE(outcome.status.message().find("no answer within 40 ms"), std::string::npos)
      << outcome.status.message();
  ::close(filler);
  ::close(fd);
}

}  // namespace
}  // namespace headrace
