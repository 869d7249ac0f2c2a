// SPDX-License-Identifier: Apache-2.0
//
// Weather over a raw socket, as a client meets it.
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

}  // namespace
}  // namespace headrace::serve
