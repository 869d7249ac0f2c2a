// SPDX-License-Identifier: Apache-2.0
//
// Faults over a raw socket, as a client meets them. What they make of texts: fault_test.cc.
#include <gtest/gtest.h>

#include <chrono>

#include "serve/test_server.h"

namespace headrace::serve {
namespace {

using Server = TestServer;

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

constexpr char kSixToTen[] = "Range: bytes=6-10\r\n";

TEST_F(Server, FaultStatus) {
  start_with_fault("status,status=503,retry_after_s=7,times=1");
  TestClient client(port());
  const TestReply reply = client.request("GET", "/bkt/hello");
  EXPECT_EQ(reply.status, 503);
  EXPECT_EQ(reply.header("Retry-After"), "7");
  EXPECT_NE(reply.body.find("<Code>SlowDown</Code>"), std::string::npos);
  EXPECT_EQ(client.request("GET", "/bkt/hello").body, "hello world");
}

TEST_F(Server, FaultReset) {
  start_with_fault("reset,at=100000");
  const TestReply reply = get_once(port(), "/bkt/big");
  EXPECT_EQ(reply.status, 200);
  EXPECT_FALSE(reply.complete);
  EXPECT_LE(reply.body.size(), 100'000u);
}

TEST_F(Server, FaultResetBeforeAnything) {
  start_with_fault("reset,where=head");
  const TestReply reply = get_once(port(), "/bkt/none");
  EXPECT_TRUE(reply.reset);
  EXPECT_TRUE(reply.head.empty());
}

TEST_F(Server, FaultTruncate) {
  start_with_fault("truncate,at=1234");
  const TestReply reply = get_once(port(), "/bkt/big");
  EXPECT_FALSE(reply.complete);
  EXPECT_FALSE(reply.reset);
  EXPECT_EQ(reply.header("Content-Length"), "3000000");
  EXPECT_EQ(reply.body, pattern(1234));
}

TEST_F(Server, FaultStallThenRest) {
  start_with_fault("stall,at=1000,ms=60");
  const auto begin = Clock::now();
  EXPECT_EQ(get_once(port(), "/bkt/big").body, pattern(3'000'000));
  EXPECT_GE(ms_since(begin), 60);
}

TEST_F(Server, FaultStallForGood) {
  start_with_fault("stall,at=10");
  TestClient client(port());
  const timeval limit{0, 100'000};
  ::setsockopt(client.fd(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  const TestReply reply = client.request("GET", "/bkt/hello");
  EXPECT_EQ(reply.body, "hello worl");
  EXPECT_FALSE(reply.reset);
  server_->stop();  // with the request still open
}

TEST_F(Server, FaultWrongRange) {
  start_with_fault("wrong-range");
  TestReply reply = get_once(port(), "/bkt/hello", "Range: bytes=0-4\r\n");
  EXPECT_EQ(reply.header("Content-Range"), "bytes 1-5/11");
  EXPECT_EQ(reply.body, "ello ");
  reply = get_once(port(), "/bkt/hello", "Range: bytes=6-10\r\n");
  EXPECT_EQ(reply.header("Content-Range"), "bytes 5-9/11");
}

TEST_F(Server, FaultFlip) {
  start_with_fault("flip,at=1000001");
  std::string expected = pattern(3'000'000);
  expected[1'000'001] = static_cast<char>(expected[1'000'001] ^ 1);
  EXPECT_TRUE(get_once(port(), "/bkt/big").body == expected);
}

TEST_F(Server, FaultFlipInAList) {
  start_with_fault("flip,at=1");
  EXPECT_TRUE(get_once(port(), "/bkt?list-type=2").body.starts_with("<>xml"));  // '?' ^ 1
}

TEST_F(Server, FaultTruncateOfAList) {
  start_with_fault("truncate,at=20");
  TestClient client(port());
  const TestReply reply = client.request("GET", "/bkt?list-type=2");
  EXPECT_EQ(reply.status, 200);
  EXPECT_FALSE(reply.complete);
  EXPECT_EQ(reply.body, "<?xml version=\"1.0\" ");
}

TEST_F(Server, FaultStallOfAList) {
  start_with_fault("stall,ms=50");
  const auto begin = Clock::now();
  EXPECT_TRUE(get_once(port(), "/bkt?list-type=2").complete);
  EXPECT_GE(ms_since(begin), 50);
}

TEST_F(Server, FaultWhole) {
  start_with_fault("whole");
  const TestReply reply = get_once(port(), "/bkt/hello", "Range: bytes=0-4\r\n");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body, "hello world");
}

TEST_F(Server, FaultDrip) {
  start_with_fault("drip,at=5,bytes_per_s=100");
  const auto begin = Clock::now();
  EXPECT_EQ(get_once(port(), "/bkt/hello").body, "hello world");
  EXPECT_GE(ms_since(begin), 55);  // 6 bytes at 100 a second
}

TEST_F(Server, FaultDelay) {
  start_with_fault("delay,ms=50");
  const auto begin = Clock::now();
  EXPECT_EQ(get_once(port(), "/bkt/hello").status, 200);
  EXPECT_GE(ms_since(begin), 50);
}

TEST_F(Server, FaultEtag) {
  start();
  const std::string tag = get_once(port(), "/bkt/hello").header("ETag");
  server_->set_faults({*parse_fault_rule("etag")});
  const TestReply reply = get_once(port(), "/bkt/hello", "If-Match: \"gone\"\r\n");
  EXPECT_EQ(reply.status, 200);
  EXPECT_NE(reply.header("ETag"), tag);
}

TEST_F(Server, FaultInTheHead) {
  start_with_fault("truncate,where=head,at=30");
  TestClient cut(port());
  EXPECT_EQ(cut.request("GET", "/bkt/hello").status, 0);
  EXPECT_TRUE(server_->fault_counts().at(0).fired == 1);
  server_->set_faults({*parse_fault_rule("stall,where=head,at=30,ms=60")});
  const auto begin = Clock::now();
  for (const char* path : {"/bkt/hello", "/bkt/big", "/bkt/none", "/bkt?list-type=2"}) {
    EXPECT_TRUE(get_once(port(), path).complete) << path;
  }
  EXPECT_GE(ms_since(begin), 240);
}

TEST_F(Server, FaultResetInAList) {
  start_with_fault("reset,at=20,op=ListObjectsV2");
  const TestReply reply = get_once(port(), "/bkt?list-type=2");
  EXPECT_FALSE(reply.complete);
  EXPECT_LE(reply.body.size(), 20u);
}

TEST_F(Server, FaultDripOfAList) {
  start_with_fault("drip,at=0,bytes_per_s=10000");  // 1,000 bytes each tenth of a second
  const size_t size = [&] {
    const auto begin = Clock::now();
    const TestReply reply = get_once(port(), "/bkt?list-type=2");
    EXPECT_TRUE(reply.complete);
    EXPECT_GE(ms_since(begin), 90);
    return reply.body.size();
  }();
  EXPECT_GT(size, 500u);
}

TEST_F(Server, FaultCloseOnReuse) {
  start_with_fault("truncate,where=head,reused=true,times=1");
  TestClient client(port());
  EXPECT_EQ(client.request("GET", "/bkt/hello").status, 200);
  EXPECT_EQ(client.request("GET", "/bkt/hello").status, 0);
  EXPECT_EQ(get_once(port(), "/bkt/hello").status, 200);
}

TEST_F(Server, FaultGarbageMovesTheBody) {
  start_with_fault("garbage,at=5");
  const TestReply reply = get_once(port(), "/bkt/hello");
  EXPECT_EQ(reply.body.substr(0, 7), "hello\xDE\xAD");
}

TEST_F(Server, FaultRanges) {
  start_with_fault("short-range,count=2");
  TestReply reply = get_once(port(), "/bkt/hello", kSixToTen);
  EXPECT_EQ(reply.header("Content-Range"), "bytes 6-8/11");
  EXPECT_EQ(reply.body, "wor");
  server_->set_faults({*parse_fault_rule("wrong-total")});
  EXPECT_EQ(get_once(port(), "/bkt/hello", kSixToTen).header("Content-Range"), "bytes 6-10/12");
  server_->set_faults({*parse_fault_rule("multipart")});
  reply = get_once(port(), "/bkt/hello", kSixToTen);
  EXPECT_EQ(reply.header("Content-Type"), "multipart/byteranges; boundary=headrace-part");
  EXPECT_NE(reply.body.find("\r\n\r\nworld\r\n"), std::string::npos);
}

TEST_F(Server, FaultScrambleFromAByteOfTheObject) {
  start_with_fault("scramble,object_at=2000000");
  const std::string body = get_once(port(), "/bkt/big", "Range: bytes=1999990-2000009\r\n").body;
  const std::string wanted = pattern(3'000'000).substr(1'999'990, 20);
  EXPECT_EQ(body.substr(0, 10), wanted.substr(0, 10));
  for (size_t i = 10; i < 20; ++i) EXPECT_EQ(body[i], static_cast<char>(~wanted[i]));
  EXPECT_EQ(get_once(port(), "/bkt/big", "Range: bytes=0-9\r\n").body,
            wanted.empty() ? "" : pattern(10));
}

TEST_F(Server, FaultReplaced) {
  start();
  const std::string tag = get_once(port(), "/bkt/hello").header("ETag");
  server_->set_faults({*parse_fault_rule("replaced")});
  EXPECT_EQ(get_once(port(), "/bkt/hello", "If-Match: " + tag + "\r\n").status, 412);
  const TestReply reply = get_once(port(), "/bkt/hello");
  EXPECT_NE(reply.header("ETag"), tag);
  EXPECT_EQ(reply.body[0], static_cast<char>(~'h'));
  EXPECT_EQ(get_once(port(), "/bkt/hello", "If-Match: " + reply.header("ETag") + "\r\n").status,
            200);
}

TEST_F(Server, FaultStatusOfAnyCodeAndShape) {
  start_with_fault("status,status=400,code=ExpiredToken");
  TestReply reply = get_once(port(), "/bkt/hello");
  EXPECT_EQ(reply.status, 400);
  EXPECT_NE(reply.body.find("<Code>ExpiredToken</Code><Message>The provided token has expired."),
            std::string::npos);
  server_->set_faults({*parse_fault_rule("status,status=502,html=true,retry_after_s=3")});
  reply = get_once(port(), "/bkt/hello");
  EXPECT_EQ(reply.header("Content-Type"), "text/html");
  EXPECT_EQ(reply.header("Retry-After"), "3");
  EXPECT_NE(reply.body.find("<h1>502 Bad Gateway</h1>"), std::string::npos);
  server_->set_faults({*parse_fault_rule("status,status=200,code=InternalError")});
  reply = get_once(port(), "/bkt?list-type=2");
  EXPECT_EQ(reply.status, 200);
  EXPECT_NE(reply.body.find("<Error><Code>InternalError</Code>"), std::string::npos);
}

TEST_F(Server, FaultRedirects) {
  start_with_fault("redirect,status=307,location=http://{host}{target},region=eu-west-1");
  const TestReply reply = get_once(port(), "/bkt/hello?x-id=GetObject");
  EXPECT_EQ(reply.status, 307);
  EXPECT_EQ(reply.header("Location"), "http://localhost/bkt/hello?x-id=GetObject");
  EXPECT_EQ(reply.header("x-amz-bucket-region"), "eu-west-1");
  EXPECT_NE(reply.body.find("<Code>TemporaryRedirect</Code>"), std::string::npos);
}

TEST_F(Server, FaultSkewMovesTheServersDate) {
  start_with_fault("skew,seconds=86400");
  const auto date = parse_http_date(get_once(port(), "/bkt/hello").header("Date"));
  ASSERT_TRUE(date.has_value());
  EXPECT_NEAR(static_cast<double>(*date - SystemClock::instance().unix_seconds()), 86400, 2);
}

TEST_F(Server, FaultXmlOfListsOnly) {
  start_with_fault("xml,how=wrong-root");
  EXPECT_EQ(get_once(port(), "/bkt/hello").body, "hello world");
  EXPECT_NE(get_once(port(), "/bkt?list-type=2").body.find("It works!"), std::string::npos);
}

TEST_F(Server, FaultHeadThatLies) {
  start_with_fault("header,op=HeadObject,header=Content-Length,value=5");
  TestClient client(port());
  EXPECT_EQ(client.request("HEAD", "/bkt/hello").header("Content-Length"), "5");
  EXPECT_EQ(client.request("GET", "/bkt/hello").body, "hello world");
}

TEST_F(Server, FaultOfConnections) {
  start_with_fault("reset,op=Connect,nth=1");
  EXPECT_TRUE(TestClient(port()).closed());
  EXPECT_EQ(get_once(port(), "/bkt/hello").status, 200);
  server_->set_faults({*parse_fault_rule("stall,op=Connect,ms=60")});
  const auto begin = Clock::now();
  EXPECT_EQ(get_once(port(), "/bkt/hello").status, 200);
  EXPECT_GE(ms_since(begin), 60);
  server_->set_faults({*parse_fault_rule("truncate,op=Connect")});
  EXPECT_TRUE(TestClient(port()).closed());
  EXPECT_EQ(server_->fault_counts().at(0).fired, 1u);
}

TEST_F(Server, FaultTlsAlertInsteadOfAHandshake) {
  ServerOptions options;
  options.tls = true;
  options.faults = {*parse_fault_rule("tls-alert,op=Connect")};
  start(std::move(options));
  TestClient client(port());
  char record[16];
  EXPECT_EQ(::recv(client.fd(), record, sizeof record, 0), 7);
  EXPECT_EQ(std::string(record, 7), std::string("\x15\x03\x03\x00\x02\x02\x28", 7));  // RFC 8446
}

TEST_F(Server, FaultsInBigBodiesGoThroughMemory) {
  start_with_fault("chunked,how=good");
  TestClient client(port());
  const std::string wire = client.request("GET", "/bkt/big").head;
  EXPECT_NE(wire.find("Transfer-Encoding: chunked"), std::string::npos);
  server_->set_faults({*parse_fault_rule("splice,at=2999990")});
  const TestReply reply = get_once(port(), "/bkt/big");
  EXPECT_EQ(reply.body.size(), 3'000'000u);
  EXPECT_EQ(reply.body.substr(2'999'990), "<?xml vers");
}

}  // namespace
}  // namespace headrace::serve
