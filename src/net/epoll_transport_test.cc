// SPDX-License-Identifier: Apache-2.0
//
// The data path against a server that follows a script to the byte: where bytes land, when
// connections are reused. Ways of stopping are in epoll_transport_stops_test.cc, broken replies in
// transport_faults_test.cc.
#include <gtest/gtest.h>

#include <future>

#include "net/epoll_transport.h"
#include "net/testing/epoll_client.h"

namespace headrace {
namespace {

using namespace std::chrono_literals;
using testing::Client;
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
    std::promise<std::string> second_read, again_read;
    ScriptServer server([&](Peer& peer) {
      const std::string request = peer.read_request();
      if (peer.number() == 1) again_read.set_value(request);
      peer.send(reply("first"));
      if (peer.number() == 0) {
        second_read.set_value(peer.read_request());  // takes the second request and dies without a byte
        if (reset) peer.reset_at_close();
        return;
      }
      peer.wait_closed();
    });
    Client client;
    ASSERT_TRUE(send_and_wait(client.transport, get(server)).status.ok());

    HttpRequest request = get(server);
    request.headers = {{"range", "bytes=0-4"}};
    const HttpOutcome outcome = send_and_wait(client.transport, std::move(request));

    ASSERT_TRUE(outcome.status.ok()) << outcome.status.message();
    const std::string again = again_read.get_future().get();
    EXPECT_NE(again.find("range: bytes=0-4\r\n"), std::string::npos) << again;
    EXPECT_EQ(again, second_read.get_future().get());
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

}  // namespace
}  // namespace headrace
