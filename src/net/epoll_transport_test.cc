// SPDX-License-Identifier: Apache-2.0
//
// The data path against a server that follows a script to the byte: where bytes land, when
// connections are reused, what each way of stopping does. Broken replies are in
// transport_faults_test.cc.
#include "net/epoll_transport.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "net/testing/script_server.h"
#include "net/testing/waiting_client.h"

namespace headrace {
namespace {

using namespace std::chrono_literals;
using testing::Peer;
using testing::ScriptServer;
using testing::send_and_wait;
using testing::send_later;
using testing::wait_for;

std::string reply(std::string_view body, std::string_view more = "") {
  return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" +
         std::string(more) + "\r\n" + std::string(body);
}

std::string pattern(size_t size) {
  std::string text(size, 0);
  for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + (i * 31 + i / 251) % 26);
  return text;
}

// Answers every request with `body` until the client leaves.
std::function<void(Peer&)> always(std::string answer) {
  return [answer = std::move(answer)](Peer& peer) {
    while (!peer.read_request().empty()) peer.send(answer);
  };
}

class FakeResolver final : public Resolver {
 public:
  explicit FakeResolver(Resolved answer) : answer_(std::move(answer)) {}
  void resolve(const std::string&, uint16_t, UniqueFunction<void(Resolved)> done) override {
    ++asked;
    done(answer_);
  }
  std::atomic<int> asked{0};

 private:
  Resolved answer_;
};

struct Client {
  explicit Client(TransportLimits limits = {}, std::shared_ptr<Resolver> resolver = nullptr)
      : transport(loop, resolver ? std::move(resolver) : std::make_shared<SystemResolver>(),
                  limits) {}
  EventLoop loop{"net-test"};
  EpollTransport transport;
};

HttpRequest get(const ScriptServer& server, std::string target = "/") {
  HttpRequest request;
  request.endpoint = server.endpoint();
  request.target = std::move(target);
  return request;
}

// A destination in three unequal pieces with guard bytes around each.
struct Scatter {
  explicit Scatter(size_t size) : memory(size + 4, '#') {
    const size_t a = size / 3, b = size / 2;
    auto* base = reinterpret_cast<std::byte*>(memory.data());
    pieces = {{base + 1, a}, {base + 2 + a, b - a}, {base + 3 + b, size - b}};
  }
  std::string content() const {
    std::string all;
    for (MutableBytes piece : pieces) all += as_text(piece);
    return all;
  }
  bool guards_intact() const { return std::ranges::count(memory, '#') == 4; }
  std::string memory;
  std::vector<MutableBytes> pieces;
};

TEST(EpollTransport, SendsTheRequestAsWrittenAndGivesTheReply) {
  std::promise<std::string> seen;
  ScriptServer server([&](Peer& peer) {
    seen.set_value(peer.read_request());
    peer.send(reply("hello", "X-Id: 7\r\n"));
    peer.wait_closed();
  });
  Client client;
  HttpRequest request = get(server, "/a?b");
  request.headers = {{"range", "bytes=0-4"}};

  const HttpOutcome outcome = send_and_wait(client.transport, std::move(request));

  ASSERT_TRUE(outcome.status.ok()) << outcome.status.message();
  EXPECT_EQ(outcome.reply.status, 200);
  EXPECT_EQ(outcome.reply.text, "hello");
  EXPECT_EQ(*find_header(outcome.reply.headers, "x-id"), "7");
  EXPECT_TRUE(outcome.sent);
  EXPECT_GT(outcome.reply.first_byte.count(), 0);
  EXPECT_GE(outcome.reply.total, outcome.reply.first_byte);
  EXPECT_EQ(seen.get_future().get(),
            "GET /a?b HTTP/1.1\r\nhost: 127.0.0.1:" + std::to_string(server.port()) +
                "\r\nrange: bytes=0-4\r\n\r\n");
}

TEST(EpollTransport, ReceivesABodyOfAnySizeIntoItsPiecesHoweverItArrives) {
  for (const size_t size : {1u, 100u, 4000u, 5000u, 20'000u, 1'000'000u}) {
    for (const size_t step : {size_t{7}, size_t{1400}, SIZE_MAX}) {
      const std::string body = pattern(size);
      if (step == 7 && size > 5000) continue;
      ScriptServer server([&](Peer& peer) {
        peer.read_request();
        const std::string all = reply(body);
        for (size_t at = 0; at < all.size(); at += std::min(step, all.size() - at)) {
          peer.send(std::string_view(all).substr(at, step));
        }
        peer.wait_closed();
      });
      Client client;
      Scatter scatter(size);
      HttpRequest request = get(server);
      request.body_into = scatter.pieces;

      const HttpOutcome outcome = send_and_wait(client.transport, std::move(request));

      ASSERT_TRUE(outcome.status.ok()) << outcome.status.message();
      EXPECT_EQ(outcome.body_bytes, size);
      EXPECT_EQ(scatter.content(), body) << size << " in steps of " << step;
      EXPECT_TRUE(scatter.guards_intact());
    }
  }
}

TEST(EpollTransport, ReceivesIntoMoreThanAThousandPieces) {
  const std::string body = pattern(30'000);
  ScriptServer server(always(reply(body)));
  Client client;
  std::string memory(body.size(), 0);
  HttpRequest request = get(server);
  for (size_t at = 0; at < body.size(); at += 20) {
    request.body_into.push_back({reinterpret_cast<std::byte*>(memory.data()) + at, 20});
    request.body_into.push_back({});  // empty pieces are legal
  }

  const HttpOutcome outcome = send_and_wait(client.transport, std::move(request));

  ASSERT_TRUE(outcome.status.ok()) << outcome.status.message();
  EXPECT_EQ(memory, body);
}

TEST(EpollTransport, JoinsChunksIntoDestinationOrText) {
  ScriptServer server(always(
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"));
  Client client;
  Scatter scatter(7);
  HttpRequest direct = get(server);
  direct.body_into = scatter.pieces;

  const HttpOutcome text = send_and_wait(client.transport, get(server));
  const HttpOutcome placed = send_and_wait(client.transport, std::move(direct));

  EXPECT_EQ(text.reply.text, "abcdefg");
  ASSERT_TRUE(placed.status.ok()) << placed.status.message();
  EXPECT_EQ(scatter.content(), "abcdefg");
  EXPECT_EQ(server.connections(), 1);
}

TEST(EpollTransport, KeepsAnErrorReplyAwayFromTheDestination) {
  ScriptServer server(always("HTTP/1.1 503 Slow Down\r\nContent-Length: 4\r\n\r\nslow"));
  Client client;
  Scatter scatter(9);
  HttpRequest request = get(server);
  request.body_into = scatter.pieces;
  request.accept = [](const HttpReply&) { return internal_error("accept is for 2xx only"); };

  const HttpOutcome outcome = send_and_wait(client.transport, std::move(request));

  ASSERT_TRUE(outcome.status.ok());
  EXPECT_EQ(outcome.reply.status, 503);
  EXPECT_EQ(outcome.reply.text, "slow");
  EXPECT_EQ(outcome.body_bytes, 0u);
  EXPECT_EQ(scatter.content(), std::string(9, '#'));
}

TEST(EpollTransport, DropsTheConnectionWhenTheReplyIsNotAccepted) {
  ScriptServer server(always(reply("hello")));
  Client client;
  Scatter scatter(5);
  HttpRequest request = get(server);
  request.body_into = scatter.pieces;
  request.accept = [](const HttpReply& r) {
    return precondition_failed("status " + std::to_string(r.status));
  };

  const HttpOutcome outcome = send_and_wait(client.transport, std::move(request));

  EXPECT_EQ(outcome.status, precondition_failed("status 200"));
  EXPECT_EQ(scatter.content(), "#####");
  EXPECT_EQ(client.transport.stats().connections, 0u);
}

TEST(EpollTransport, SendsABodyWithItsLengthAndAHeadRequestWithoutReplyBody) {
  ScriptServer server([](Peer& peer) {
    const std::string head = peer.read_request();
    EXPECT_NE(head.find("content-length: 5\r\n"), std::string::npos);
    peer.send(reply(""));
    EXPECT_EQ(peer.read_request(), "a\r\n\r\n");
    EXPECT_TRUE(peer.read_request().starts_with("HEAD / HTTP/1.1\r\n"));
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    peer.wait_closed();
  });
  Client client;
  HttpRequest put = get(server);
  put.method = "PUT";
  put.body = "a\r\n\r\n";  // five bytes that the script's reader takes as the end of a head
  HttpRequest head = get(server);
  head.method = "HEAD";

  EXPECT_EQ(send_and_wait(client.transport, std::move(put)).reply.status, 200);
  const HttpOutcome outcome = send_and_wait(client.transport, std::move(head));

  ASSERT_TRUE(outcome.status.ok()) << outcome.status.message();
  EXPECT_EQ(*find_header(outcome.reply.headers, "content-length"), "1000");
  EXPECT_EQ(outcome.reply.text, "");
}

TEST(EpollTransport, SendsABigBodyThatTheSocketTakesInParts) {
  constexpr size_t kSize = 8 << 20;
  std::atomic<size_t> got{0};
  ScriptServer server([&](Peer& peer) {
    peer.read_request();
    peer.send("");
    char scratch[65536];
    while (got < kSize - 70'000) {
      const ssize_t n = ::recv(peer.fd(), scratch, sizeof scratch, 0);
      if (n <= 0) break;
      got += static_cast<size_t>(n);
    }
    peer.send(reply("done"));
    peer.wait_closed();
  });
  Client client;
  HttpRequest put = get(server);
  put.method = "PUT";
  put.body = std::string(kSize, 'x');

  const HttpOutcome outcome = send_and_wait(client.transport, std::move(put));

  ASSERT_TRUE(outcome.status.ok()) << outcome.status.message();
  EXPECT_EQ(outcome.reply.text, "done");
}

// ---- connections ----

TEST(EpollTransport, ReusesOneConnectionForRequestsInTurn) {
  ScriptServer server(always(reply("x")));
  Client client;

  for (int i = 0; i < 10; ++i)
    ASSERT_TRUE(send_and_wait(client.transport, get(server)).status.ok());

  EXPECT_EQ(server.connections(), 1);
  const auto stats = client.transport.stats();
  EXPECT_EQ(stats.requests, 10u);
  EXPECT_EQ(stats.connections_opened, 1u);
  EXPECT_EQ(stats.reused, 9u);
  EXPECT_EQ(stats.idle, 1u);
}

TEST(EpollTransport, DoesNotReuseAConnectionThatTheServerCloses) {
  ScriptServer server([](Peer& peer) {
    peer.read_request();
    peer.send(reply("x", "Connection: close\r\n"));
    peer.wait_closed();
  });
  Client client;

  for (int i = 0; i < 3; ++i) ASSERT_TRUE(send_and_wait(client.transport, get(server)).status.ok());

  EXPECT_EQ(server.connections(), 3);
}

TEST(EpollTransport, RetriesInvisiblyWhenAKeptConnectionTurnsOutDead) {
  for (const bool reset : {false, true}) {
    ScriptServer server([&](Peer& peer) {
      peer.read_request();
      peer.send(reply("first"));
      if (peer.number() == 0) {
        peer.read_request();  // takes the second request and dies without a byte
        if (reset) peer.reset_at_close();
        return;
      }
      peer.wait_closed();
    });
    Client client;
    ASSERT_TRUE(send_and_wait(client.transport, get(server)).status.ok());

    const HttpOutcome outcome = send_and_wait(client.transport, get(server));

    ASSERT_TRUE(outcome.status.ok()) << outcome.status.message();
    EXPECT_EQ(client.transport.stats().stale_retries, 1u);
    EXPECT_EQ(server.connections(), 2);
  }
}

TEST(EpollTransport, RetriesADeadConnectionOnceOnlyAndNeverAPut) {
  ScriptServer server([&](Peer& peer) {
    peer.read_request();
    if (peer.number() == 0 || peer.number() == 2) {
      peer.send(reply("first"));
      peer.read_request();
    }
  });
  Client client;
  HttpRequest put = get(server);
  put.method = "PUT";

  ASSERT_TRUE(send_and_wait(client.transport, get(server)).status.ok());
  const HttpOutcome twice = send_and_wait(client.transport, get(server));
  ASSERT_TRUE(send_and_wait(client.transport, get(server)).status.ok());
  const HttpOutcome written = send_and_wait(client.transport, std::move(put));

  EXPECT_EQ(twice.status.code(), Code::kUnavailable);
  EXPECT_EQ(written.status.code(), Code::kUnavailable);
  EXPECT_TRUE(written.sent);
  EXPECT_EQ(client.transport.stats().stale_retries, 1u);
}

TEST(EpollTransport, QueuesAboveItsConnectionLimitInOrder) {
  std::mutex mutex;
  std::vector<std::string> order;
  ScriptServer server([&](Peer& peer) {
    for (std::string head = peer.read_request(); !head.empty(); head = peer.read_request()) {
      {
        std::lock_guard lock(mutex);
        order.push_back(head.substr(4, head.find(' ', 4) - 4));
      }
      peer.send(reply("x"));
    }
  });
  Client client({.connections_max = 1});
  std::vector<std::future<HttpOutcome>> outcomes;

  for (int i = 0; i < 20; ++i)
    outcomes.push_back(send_later(client.transport, get(server, "/" + std::to_string(i))));
  for (auto& outcome : outcomes) ASSERT_TRUE(wait_for(std::move(outcome)).status.ok());

  EXPECT_EQ(server.connections(), 1);
  std::vector<std::string> expected;
  for (int i = 0; i < 20; ++i) expected.push_back("/" + std::to_string(i));
  EXPECT_EQ(order, expected);
}

TEST(EpollTransport, MakesRoomForAnotherEndpointAtItsLimit) {
  ScriptServer one(always(reply("one"))), two(always(reply("two")));
  Client client({.connections_max = 1});

  EXPECT_EQ(send_and_wait(client.transport, get(one)).reply.text, "one");
  EXPECT_EQ(send_and_wait(client.transport, get(two)).reply.text, "two");
  EXPECT_EQ(send_and_wait(client.transport, get(one)).reply.text, "one");

  EXPECT_EQ(client.transport.stats().connections, 1u);
}

TEST(EpollTransport, ClosesConnectionsThatStayIdleTooLong) {
  ScriptServer server(always(reply("x")));
  Client client({.idle_max = 30ms});
  ASSERT_TRUE(send_and_wait(client.transport, get(server)).status.ok());

  for (int i = 0; i < 500 && client.transport.stats().connections != 0; ++i) {
    std::this_thread::sleep_for(5ms);  // bounded wait on a real clock
  }

  EXPECT_EQ(client.transport.stats().connections, 0u);
}

TEST(EpollTransport, ServesAThousandRequestsAtOnce) {
  // One thread a connection on the server's side, so 50 connections carry the 1,000.
  ScriptServer server(always(reply(pattern(5000))));
  Client client({.connections_max = 50});
  std::vector<std::future<HttpOutcome>> outcomes;
  std::vector<std::unique_ptr<Scatter>> memory;

  for (int i = 0; i < 1000; ++i) {
    memory.push_back(std::make_unique<Scatter>(5000));
    HttpRequest request = get(server);
    request.body_into = memory.back()->pieces;
    outcomes.push_back(send_later(client.transport, std::move(request)));
  }
  for (auto& outcome : outcomes) {
    const HttpOutcome got = wait_for(std::move(outcome));
    ASSERT_TRUE(got.status.ok()) << got.status.message();
  }

  for (const auto& scatter : memory) ASSERT_EQ(scatter->content(), pattern(5000));
  EXPECT_LE(server.connections(), 50);
}

// ---- addresses ----

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
