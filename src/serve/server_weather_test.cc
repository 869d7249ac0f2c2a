// SPDX-License-Identifier: Apache-2.0
//
// Weather and faults over a raw socket, as a client meets them.
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "serve/test_server.h"

namespace headrace::serve {
namespace {

using Server = TestServer;

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

// ---- weather ----

TEST_F(Server, WaitsBeforeTheFirstByteAndPaces) {
  ServerOptions options;
  options.weather = {.first_byte_median_ms = 40, .connection_bytes_per_s = 10e6};
  start(std::move(options));
  TestClient client(port());
  auto begin = Clock::now();
  EXPECT_EQ(client.request("GET", "/bkt/hello").body, "hello world");
  EXPECT_GE(ms_since(begin), 40);
  begin = Clock::now();
  EXPECT_EQ(client.request("GET", "/bkt/big", "Range: bytes=0-999999\r\n").body,
            pattern(1'000'000));
  EXPECT_GE(ms_since(begin), 140);  // 40 ms + 1 MB at 10 MB/s
  EXPECT_LT(ms_since(begin), 1000);
}

TEST_F(Server, TotalBandwidthIsShared) {
  ServerOptions options;
  options.weather = {.total_bytes_per_s = 20e6};
  start(std::move(options));
  const auto begin = Clock::now();
  std::vector<std::thread> readers;
  for (int i = 0; i < 4; ++i) {
    readers.emplace_back([&] {
      EXPECT_EQ(get_once(port(), "/bkt/big", "Range: bytes=0-999999\r\n").body.size(), 1'000'000u);
    });
  }
  for (std::thread& reader : readers) reader.join();
  EXPECT_GE(ms_since(begin), 195);  // 4 MB at 20 MB/s
}

// ---- faults ----

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
  start_with_fault("reset");
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

}  // namespace
}  // namespace headrace::serve
