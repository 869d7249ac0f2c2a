// SPDX-License-Identifier: Apache-2.0
//
// What CurlTransport does beyond judging replies (transport_faults_test.cc): proxies, methods,
// stopping.
#include "net/curl_transport.h"

#include <gtest/gtest.h>

#include <cstdlib>

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

// Notes each request head and answers "hello".
struct Recorder {
  ScriptServer server{[this](Peer& peer) {
    for (std::string head = peer.read_request(); !head.empty(); head = peer.read_request()) {
      {
        std::lock_guard lock(mutex);
        heads.push_back(head);
      }
      peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    }
  }};
  std::string head(size_t index) {
    std::lock_guard lock(mutex);
    return heads.at(index);
  }
  std::mutex mutex;
  std::vector<std::string> heads;
};

struct ScopedEnv {
  ScopedEnv(const char* name, const std::string& value) : name_(name) {
    ::setenv(name, value.c_str(), 1);
  }
  ~ScopedEnv() { ::unsetenv(name_); }
  const char* name_;
};

HttpRequest get(HttpEndpoint endpoint, std::string target = "/") {
  HttpRequest request;
  request.endpoint = std::move(endpoint);
  request.target = std::move(target);
  return request;
}

TEST(CurlTransport, SendsNothingButWhatItWasGiven) {
  Recorder recorder;
  CurlTransport transport;
  HttpRequest request = get(recorder.server.endpoint(), "/a/../b//c?d=%2F");
  request.headers = {{"x-one", "1"}, {"x-empty", ""}};

  const HttpOutcome outcome = send_and_wait(transport, std::move(request));

  ASSERT_TRUE(outcome.status.ok()) << outcome.status.message();
  EXPECT_EQ(outcome.reply.text, "hello");
  EXPECT_TRUE(outcome.sent);
  EXPECT_EQ(recorder.head(0), "GET /a/../b//c?d=%2F HTTP/1.1\r\nHost: 127.0.0.1:" +
                                      std::to_string(recorder.server.port()) +
                                      "\r\nx-one: 1\r\nx-empty:\r\n\r\n");
}

TEST(CurlTransport, PutsABodyAndReusesItsConnection) {
  Recorder recorder;
  CurlTransport transport;
  HttpRequest put = get(recorder.server.endpoint());
  put.method = "PUT";
  put.body = "x\r\n\r\n";  // taken for a second head by the script, which answers twice: the
                           // connection is then dropped

  ASSERT_TRUE(send_and_wait(transport, std::move(put)).status.ok());
  EXPECT_NE(recorder.head(0).find("PUT / HTTP/1.1\r\n"), std::string::npos);
  EXPECT_NE(recorder.head(0).find("Content-Length: 5\r\n"), std::string::npos);
  for (int i = 0; i < 3; ++i)
    ASSERT_TRUE(send_and_wait(transport, get(recorder.server.endpoint())).status.ok());
  EXPECT_LE(recorder.server.connections(), 2);
}

TEST(CurlTransport, GoesThroughTheProxyOfTheEnvironmentUnlessTheHostIsExempt) {
  Recorder proxy, direct;
  const ScopedEnv http("http_proxy", "http://127.0.0.1:" + std::to_string(proxy.server.port()));
  const ScopedEnv exempt("no_proxy", "127.0.0.1");
  CurlTransport transport;

  const HttpOutcome through = send_and_wait(transport, get({.host = "store.test"}, "/key"));
  const HttpOutcome past = send_and_wait(transport, get(direct.server.endpoint(), "/key"));

  ASSERT_TRUE(through.status.ok()) << through.status.message();
  ASSERT_TRUE(past.status.ok()) << past.status.message();
  EXPECT_TRUE(proxy.head(0).starts_with("GET http://store.test/key HTTP/1.1\r\n"))
      << proxy.head(0);
  EXPECT_TRUE(direct.head(0).starts_with("GET /key HTTP/1.1\r\n"));
  EXPECT_THROW(proxy.head(1), std::out_of_range);
}

TEST(CurlTransport, ReportsAProxyThatRefusesAndKeepsItsPasswordOutOfTheMessage) {
  ScriptServer proxy([](Peer& peer) {
    EXPECT_TRUE(peer.read_request().starts_with("CONNECT store.test:443 HTTP/1.1\r\n"));
    peer.send("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
    peer.wait_closed();
  });
  const ScopedEnv https("https_proxy",
                        "http://user:sesame@127.0.0.1:" + std::to_string(proxy.port()));
  CurlTransport transport;

  const HttpOutcome outcome =
      send_and_wait(transport, get({.tls = true, .host = "store.test", .port = 443}));

  EXPECT_EQ(outcome.status.code(), Code::kUnavailable);
  EXPECT_NE(outcome.status.message().find("407"), std::string::npos) << outcome.status.message();
  EXPECT_EQ(outcome.status.message().find("sesame"), std::string::npos);
  EXPECT_FALSE(outcome.sent);
}

TEST(CurlTransport, SaysThatAProxyIsSetWhenNobodyAnswersThere) {
  uint16_t port;
  {
    ScriptServer gone([](Peer&) {});
    port = gone.port();
  }
  const ScopedEnv http("http_proxy", "http://user:password@127.0.0.1:" + std::to_string(port));
  CurlTransport transport;

  const HttpOutcome outcome = send_and_wait(transport, get({.host = "store.test"}));

  EXPECT_EQ(outcome.status.code(), Code::kUnavailable);
  EXPECT_NE(outcome.status.message().find("http_proxy is set"), std::string::npos)
      << outcome.status.message();
  EXPECT_EQ(outcome.status.message().find("password"), std::string::npos);
}

TEST(CurlTransport, DoesNotFollowRedirects) {
  ScriptServer server([](Peer& peer) {
    peer.read_request();
    peer.send(
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: "
        "0\r\n\r\n");
    peer.wait_closed();
  });
  CurlTransport transport;

  const HttpOutcome outcome = send_and_wait(transport, get(server.endpoint()));

  ASSERT_TRUE(outcome.status.ok());
  EXPECT_EQ(outcome.reply.status, 307);
}

TEST(CurlTransport, NamesTheEndpointThatRefuses) {
  uint16_t closed_port;
  {
    ScriptServer gone([](Peer&) {});
    closed_port = gone.port();
  }
  CurlTransport transport;

  const HttpOutcome outcome =
      send_and_wait(transport, get({.host = "127.0.0.1", .port = closed_port}));

  EXPECT_EQ(outcome.status.code(), Code::kUnavailable);
  EXPECT_NE(outcome.status.message().find("http://127.0.0.1:" + std::to_string(closed_port)),
            std::string::npos);
  EXPECT_NE(outcome.status.message().find("is the endpoint right"), std::string::npos);
  EXPECT_FALSE(outcome.sent);
}

TEST(CurlTransport, StopsByTokenByDeadlineAndAtClose) {
  ScriptServer server([](Peer& peer) {
    peer.read_request();
    peer.wait_closed();
  });
  CurlTransport transport;
  std::stop_source stop;
  HttpRequest dated = get(server.endpoint());
  dated.deadline = Deadline::after(SystemClock::instance(), 40ms);
  auto stopped = send_later(transport, get(server.endpoint()), stop.get_token());
  auto late = send_later(transport, std::move(dated));
  auto closed = send_later(transport, get(server.endpoint()));

  stop.request_stop();
  EXPECT_EQ(wait_for(std::move(stopped)).status.code(), Code::kCancelled);
  EXPECT_EQ(wait_for(std::move(late)).status.code(), Code::kTimeout);
  transport.close();
  EXPECT_EQ(wait_for(std::move(closed)).status.code(), Code::kCancelled);
  EXPECT_EQ(send_and_wait(transport, get(server.endpoint())).status.code(), Code::kCancelled);
}

TEST(CurlTransport, RefusesTextAboveItsLimitAndABadRequest) {
  Recorder recorder;
  CurlTransport transport;
  HttpRequest small = get(recorder.server.endpoint());
  small.text_bytes_max = 4;

  EXPECT_EQ(send_and_wait(transport, std::move(small)).status.code(), Code::kExhausted);
  EXPECT_EQ(send_and_wait(transport, get(recorder.server.endpoint(), "/a b")).status.code(),
            Code::kInvalidArgument);
}

}  // namespace
}  // namespace headrace
