// SPDX-License-Identifier: Apache-2.0
//
// TLS end to end: the server side with its self-made certificate on one thread, the transports on
// the other.
#include "net/tls.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <map>

#include "net/curl_transport.h"
#include "net/epoll_transport.h"
#include "net/testing/script_server.h"
#include "net/testing/waiting_client.h"

namespace headrace {
namespace {

using namespace std::chrono_literals;
using testing::Peer;
using testing::ScriptServer;
using testing::send_and_wait;

std::string temp_path(const char* name) {
  return ::testing::TempDir() + "/headrace_tls_" + std::to_string(::getpid()) + "_" + name;
}

// Blocking TLS server's end: reads requests, answers each with `body`.
void serve_tls(Peer& peer, const std::shared_ptr<TlsContext>& context, const std::string& body,
               size_t write_step = SIZE_MAX) {
  timeval patience{5, 0};
  ::setsockopt(peer.fd(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  auto stream = *TlsStream::accept(context, peer.fd());
  if (stream->handshake() != TlsStream::Step::kDone) return;
  const std::string all =
      "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  std::string request;
  for (;;) {
    char buffer[4096];
    const auto io = stream->read({reinterpret_cast<std::byte*>(buffer), sizeof buffer});
    if (io.bytes == 0) return;
    request.append(buffer, io.bytes);
    if (!request.ends_with("\r\n\r\n")) continue;
    request.clear();
    for (std::string_view rest = all; !rest.empty();) {
      const auto sent = stream->write(as_bytes(rest.substr(0, write_step)));
      if (sent.bytes == 0) return;
      rest.remove_prefix(sent.bytes);
    }
  }
}

struct Tls : ::testing::Test {
  Tls()
      : certificate(temp_path("cert.pem")), context(*TlsContext::self_signed_server(certificate)) {}
  ~Tls() override { std::remove(certificate.c_str()); }

  HttpOutcome ask(const std::string& host, TlsOptions options, bool curl = false) {
    ScriptServer server([this](Peer& peer) { serve_tls(peer, context, "secret body"); });
    HttpRequest request;
    request.endpoint = {.tls = true, .host = host, .port = server.port()};
    if (curl) {
      CurlTransport transport({}, options);
      return send_and_wait(transport, std::move(request));
    }
    EventLoop loop("tls");
    EpollTransport transport(loop, std::make_shared<SystemResolver>(), {}, options);
    return send_and_wait(transport, std::move(request));
  }
  std::string certificate;
  std::shared_ptr<TlsContext> context;
};

TEST_F(Tls, TrustsTheServersOwnCertificateByNameAndByAddress) {
  for (const bool curl : {false, true}) {
    for (const char* host : {"localhost", "127.0.0.1"}) {
      const HttpOutcome outcome = ask(host, {.ca_file = certificate}, curl);
      ASSERT_TRUE(outcome.status.ok()) << outcome.status.message();
      EXPECT_EQ(outcome.reply.text, "secret body");
    }
  }
}

TEST_F(Tls, RefusesAnUnknownAuthorityAndSaysWhatToSet) {
  const std::string other = temp_path("other.pem");
  ASSERT_TRUE(TlsContext::self_signed_server(other).ok());
  for (const bool curl : {false, true}) {
    const HttpOutcome outcome = ask("localhost", {.ca_file = other}, curl);

    EXPECT_EQ(outcome.status.code(), Code::kInvalidArgument) << outcome.status.message();
    EXPECT_NE(outcome.status.message().find("AWS_CA_BUNDLE"), std::string::npos)
        << outcome.status.message();
    EXPECT_FALSE(outcome.sent);
  }
  std::remove(other.c_str());
}

TEST_F(Tls, RefusesACertificateForAnotherHost) {
  // 127.0.0.2 reaches the same server, whose certificate names 127.0.0.1 only; the listener is on
  // 127.0.0.1, so a fake resolver leads the name there.
  struct Leads final : Resolver {
    void resolve(const std::string&, uint16_t port, UniqueFunction<void(Resolved)> done) override {
      done(std::vector{*SocketAddress::parse("127.0.0.1", port)});
    }
  };
  ScriptServer server([this](Peer& peer) { serve_tls(peer, context, "x"); });
  EventLoop loop("tls");
  EpollTransport transport(loop, std::make_shared<Leads>(), {}, {.ca_file = certificate});
  HttpRequest request;
  request.endpoint = {.tls = true, .host = "bucket.example.com", .port = server.port()};

  const HttpOutcome outcome = send_and_wait(transport, std::move(request));

  EXPECT_EQ(outcome.status.code(), Code::kInvalidArgument);
  EXPECT_NE(outcome.status.message().find("ostname mismatch"), std::string::npos)
      << outcome.status.message();
  EXPECT_NE(outcome.status.message().find("headrace localhost"), std::string::npos)
      << outcome.status.message();
}

TEST_F(Tls, AcceptsAnythingOnlyWhenToldNotToVerify) {
  EXPECT_TRUE(ask("localhost", {.verify = false}).status.ok());
  EXPECT_TRUE(ask("localhost", {.verify = false}, true).status.ok());
  EXPECT_FALSE(ask("localhost", {}).status.ok());
}

TEST_F(Tls, ReceivesALargeBodyIntoItsPlaceOverOneConnection) {
  const std::string body(3'000'001, 'z');
  ScriptServer server([&](Peer& peer) { serve_tls(peer, context, body, 10'000); });
  EventLoop loop("tls");
  EpollTransport transport(loop, std::make_shared<SystemResolver>(), {}, {.ca_file = certificate});
  for (int i = 0; i < 3; ++i) {
    std::string memory(body.size() + 2, '#');
    HttpRequest request;
    request.endpoint = {.tls = true, .host = "localhost", .port = server.port()};
    request.body_into = {{reinterpret_cast<std::byte*>(memory.data()) + 1, 1'000'000},
                         {reinterpret_cast<std::byte*>(memory.data()) + 1'000'001, 2'000'001}};

    const HttpOutcome outcome = send_and_wait(transport, std::move(request));

    ASSERT_TRUE(outcome.status.ok()) << outcome.status.message();
    EXPECT_EQ(memory, "#" + body + "#");
  }
  EXPECT_EQ(server.connections(), 1);
}

TEST_F(Tls, SaysThatTheServerDoesNotSpeakTls) {
  ScriptServer server([](Peer& peer) {
    peer.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    peer.wait_closed();
  });
  EventLoop loop("tls");
  EpollTransport transport(loop, std::make_shared<SystemResolver>(), {}, {.ca_file = certificate});
  HttpRequest request;
  request.endpoint = {.tls = true, .host = "127.0.0.1", .port = server.port()};

  const HttpOutcome outcome = send_and_wait(transport, std::move(request));

  EXPECT_EQ(outcome.status.code(), Code::kUnavailable);
  EXPECT_NE(outcome.status.message().find("TLS handshake"), std::string::npos)
      << outcome.status.message();
}

TEST_F(Tls, GivesUpOnAHandshakeThatHangsAndOnOneThatIsCutOff) {
  for (const bool hang : {false, true}) {
    ScriptServer server([&](Peer& peer) {
      if (hang) peer.wait_closed();
    });
    EventLoop loop("tls");
    EpollTransport transport(loop, std::make_shared<SystemResolver>(), {.connect_timeout = 40ms},
                             {.ca_file = certificate});
    HttpRequest request;
    request.endpoint = {.tls = true, .host = "127.0.0.1", .port = server.port()};

    const HttpOutcome outcome = send_and_wait(transport, std::move(request));

    EXPECT_EQ(outcome.status.code(), hang ? Code::kTimeout : Code::kUnavailable)
        << outcome.status.message();
  }
}

TEST_F(Tls, RefusesATruncatedBody) {
  ScriptServer server([this](Peer& peer) {
    auto stream = *TlsStream::accept(context, peer.fd());
    if (stream->handshake() != TlsStream::Step::kDone) return;
    std::byte scratch[4096];
    stream->read(scratch);
    stream->write(as_bytes("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabcd"));
  });
  EventLoop loop("tls");
  EpollTransport transport(loop, std::make_shared<SystemResolver>(), {}, {.ca_file = certificate});
  HttpRequest request;
  request.endpoint = {.tls = true, .host = "127.0.0.1", .port = server.port()};

  const HttpOutcome outcome = send_and_wait(transport, std::move(request));

  EXPECT_EQ(outcome.status.code(), Code::kUnavailable);
}

TEST(TlsContexts, FindTheirAuthoritiesInTheStatedOrder) {
  std::map<std::string, std::string> variables;
  const auto env = [&](const char* name) -> const char* {
    const auto it = variables.find(name);
    return it == variables.end() ? nullptr : it->second.c_str();
  };
  variables["SSL_CERT_DIR"] = "/d";
  EXPECT_EQ(find_ca({}, env).dir, "/d");
  variables["SSL_CERT_FILE"] = "/f";
  EXPECT_EQ(find_ca({}, env).file, "/f");
  variables["AWS_CA_BUNDLE"] = "/a";
  EXPECT_EQ(find_ca({}, env).source, "AWS_CA_BUNDLE");
  EXPECT_EQ(find_ca({.ca_file = "/o"}, env).file, "/o");
  variables.clear();
  variables["AWS_CA_BUNDLE"] = "";
  EXPECT_NE(find_ca({}, env).source, "AWS_CA_BUNDLE");
}

TEST(TlsContexts, NameTheFileTheyCannotRead) {
  const auto client = TlsContext::client({.ca_file = "/nowhere/ca.pem"});
  const auto server = TlsContext::server("/nowhere/cert.pem", "/nowhere/key.pem");
  const auto unwritable = TlsContext::self_signed_server("/nowhere/cert.pem");

  EXPECT_EQ(client.status().code(), Code::kInvalidArgument);
  EXPECT_NE(client.status().message().find("/nowhere/ca.pem"), std::string::npos);
  EXPECT_EQ(server.status().code(), Code::kInvalidArgument);
  EXPECT_NE(server.status().message().find("/nowhere/cert.pem"), std::string::npos);
  EXPECT_NE(unwritable.status().message().find("/nowhere/cert.pem"), std::string::npos);
}

}  // namespace
}  // namespace headrace
