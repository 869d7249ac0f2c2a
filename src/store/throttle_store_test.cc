// SPDX-License-Identifier: Apache-2.0
#include "store/throttle_store.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "store/memory_store.h"

namespace headrace {
namespace {

using std::chrono::milliseconds;

struct World {
  ManualClock clock;
  ManualExecutor executor{clock};
  std::shared_ptr<MemoryStore> memory = std::make_shared<MemoryStore>(executor);
  ThrottleStore store;
  std::string sink = std::string(1 << 20, '\0');
  std::vector<double> times_ms;

  explicit World(ThrottleProfile profile, uint64_t seed = 1)
      : store(memory, profile, std::make_unique<SeededRandom>(seed)) {
    memory->set("k", std::string(1 << 20, 'x'));
  }
  void read(uint64_t bytes, std::stop_token stop = {}) {
    ReadRequest request;
    request.key = "k";
    request.range = {0, bytes};
    request.dst = {std::as_writable_bytes(std::span(sink)).first(bytes)};
    store.read(std::move(request),
               [this, asked = clock.now()](ReadOutcome) {
                 times_ms.push_back(std::chrono::duration<double, std::milli>(clock.now() - asked).count());
               },
               std::move(stop));
  }
};

ThrottleProfile exact() {
  return {.first_byte_median = milliseconds(30), .first_byte_sigma = 0, .tail_share = 0,
          .connection_bytes_per_s = 0, .total_bytes_per_s = 0};
}

TEST(ThrottleStore, PacesABodyByItsConnection) {
  auto profile = exact();
  profile.connection_bytes_per_s = 1e6;
  World w(profile);
  w.read(500'000);
  w.read(250'000);
  w.executor.run_all();
  ASSERT_EQ(w.times_ms.size(), 2u);
  EXPECT_NEAR(w.times_ms[0], 30 + 250, 0.01);
  EXPECT_NEAR(w.times_ms[1], 30 + 500, 0.01);
}

TEST(ThrottleStore, SharesTheLinkAmongAll) {
  auto profile = exact();
  profile.total_bytes_per_s = 10e6;
  World w(profile);
  for (int i = 0; i < 100; ++i) w.read(100'000);  // 10 MB over 10 MB/s
  w.executor.run_all();
  EXPECT_NEAR(w.times_ms.back(), 30 + 1000, 0.1);
}

TEST(ThrottleStore, DrawsLogNormalFirstBytesWithATail) {
  auto profile = exact();
  profile.first_byte_sigma = 0.35;
  profile.tail_share = 0.01;
  World w(profile);
  for (int i = 0; i < 20'000; ++i) w.read(1);
  w.executor.run_all();
  std::sort(w.times_ms.begin(), w.times_ms.end());
  const auto at = [&](double q) { return w.times_ms[static_cast<size_t>(q * 20'000)]; };
  // A log-normal's quantiles are median * exp(sigma * z): z(0.5) = 0, z(0.9) = 1.2816. The tail shifts them a little:
  // of 99 % body the median stands at q = 0.5 / 0.99, z = 0.0127.
  EXPECT_NEAR(at(0.5), 30.1, 0.5);
  EXPECT_NEAR(at(0.9), 30 * std::exp(0.35 * 1.335), 1.2);
  EXPECT_GT(at(0.995), 200);
  EXPECT_LT(at(0.98), 90);
}

TEST(ThrottleStore, TheSameSeedGivesTheSameWeather) {
  ThrottleProfile profile;
  World a(profile, 5), b(profile, 5), c(profile, 6);
  for (World* w : {&a, &b, &c}) {
    for (int i = 0; i < 50; ++i) w->read(1000);
    w->executor.run_all();
  }
  EXPECT_EQ(a.times_ms, b.times_ms);
  EXPECT_NE(a.times_ms, c.times_ms);
}

TEST(ThrottleStore, AnswersAStopAtOnce) {
  World w(exact());
  std::stop_source stop;
  w.read(1000, stop.get_token());
  w.executor.run_ready();
  EXPECT_TRUE(w.times_ms.empty());
  stop.request_stop();
  w.executor.run_ready();
  EXPECT_EQ(w.times_ms, std::vector<double>{0.0});
  w.executor.run_all();
  EXPECT_EQ(w.times_ms.size(), 1u);
}

}  // namespace
}  // namespace headrace
