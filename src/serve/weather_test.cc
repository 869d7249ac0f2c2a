// SPDX-License-Identifier: Apache-2.0
#include "serve/weather.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "serve/pacer.h"

namespace headrace::serve {
namespace {

double ms(Nanos n) { return static_cast<double>(n.count()) * 1e-6; }

TEST(Weather, HasTheQuantilesOfItsLogNormal) {
  WeatherOptions options = *weather_profile("s3");
  options.tail_probability = 0;
  const Weather weather(options);
  std::vector<double> delays;
  for (uint64_t i = 0; i < 100'000; ++i) delays.push_back(ms(weather.first_byte_delay(i * 977, 1)));
  std::sort(delays.begin(), delays.end());
  // Standard normal quantiles: 0, 1.281552, -1.281552, 2.326348.
  EXPECT_NEAR(delays[50'000], 30, 0.3);
  EXPECT_NEAR(delays[90'000], 30 * std::exp(0.35 * 1.281552), 0.6);
  EXPECT_NEAR(delays[10'000], 30 * std::exp(-0.35 * 1.281552), 0.3);
  EXPECT_NEAR(delays[99'000], 30 * std::exp(0.35 * 2.326348), 1.5);
}

TEST(Weather, TailHasItsShare) {
  const Weather weather(*weather_profile("s3"));
  int late = 0;
  for (uint64_t i = 0; i < 100'000; ++i) late += ms(weather.first_byte_delay(i, 1)) >= 300;
  EXPECT_NEAR(late, 1000, 130);  // 4 standard deviations of a binomial(100000, 0.01)
}

TEST(Weather, IsAFunctionOfSeedRequestAndAttempt) {
  WeatherOptions options = *weather_profile("s3");
  const Weather a(options), b(options);
  options.seed = 2;
  const Weather other(options);
  EXPECT_EQ(a.first_byte_delay(5, 1), b.first_byte_delay(5, 1));
  EXPECT_NE(a.first_byte_delay(5, 1), a.first_byte_delay(5, 2));
  EXPECT_NE(a.first_byte_delay(5, 1), a.first_byte_delay(6, 1));
  EXPECT_NE(a.first_byte_delay(5, 1), other.first_byte_delay(5, 1));
  EXPECT_EQ(Weather({}).first_byte_delay(5, 1), Nanos::zero());
}

TEST(Weather, RefusesSenselessOptions) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const WeatherOptions& bad :
       {WeatherOptions{.first_byte_median_ms = -1}, WeatherOptions{.first_byte_median_ms = nan},
        WeatherOptions{.first_byte_sigma = 4}, WeatherOptions{.tail_probability = 1.1},
        WeatherOptions{.tail_ms = 1e9}, WeatherOptions{.connection_bytes_per_s = -1},
        WeatherOptions{.total_bytes_per_s = nan}}) {
    EXPECT_EQ(check_weather(bad).code(), Code::kInvalidArgument);
  }
  EXPECT_TRUE(check_weather(*weather_profile("wan")).ok());
  EXPECT_NE(weather_profile("sunny").status().message().find("s3-tail"), std::string::npos);
}

TEST(Attempts, CountPerRequest) {
  AttemptCounter attempts;
  const uint64_t a = 0x1111'2222'3333'4444, b = 0x1111'2222'3333'4445;
  EXPECT_EQ(attempts.next(a), 1u);
  EXPECT_EQ(attempts.next(b), 1u);
  EXPECT_EQ(attempts.next(a), 2u);
  EXPECT_EQ(attempts.next(a ^ (uint64_t{1} << 60)), 1u);  // takes a's slot
  EXPECT_EQ(attempts.next(a), 1u);
  EXPECT_EQ(attempts.next(b), 2u);
}

// 115,000 bytes at 80 MB/s are through after 1.4375 ms; 8 MB after 100 ms, in chunks of 2 ms.
TEST(Pacing, ABodysLastByteLeavesWhenTheLineIsThrough) {
  SharedLine line;
  Pacer pacer;
  const TimePoint start{Nanos(1'000'000'000)};
  pacer.begin(80e6, &line, start);
  EXPECT_NEAR(ms(pacer.next(115'000, start).when - start), 1.4375, 0.001);
  pacer.begin(80e6, &line, start);
  uint64_t left = 8'000'000;
  TimePoint now = start;
  int chunks = 0;
  while (left > 0) {
    const Pacer::Chunk chunk = pacer.next(left, now);
    now = chunk.when;
    left -= chunk.bytes;
    ++chunks;
  }
  EXPECT_NEAR(ms(now - start), 100, 0.01);
  EXPECT_EQ(chunks, 50);
}

TEST(Pacing, AReaderThatPausedGetsNoBurst) {
  SharedLine line;
  Pacer pacer;
  const TimePoint start{Nanos(0)};
  pacer.begin(1e6, &line, start);
  EXPECT_EQ(pacer.next(100'000, start).bytes, 4096u);
  const TimePoint late = start + std::chrono::seconds(10);
  EXPECT_EQ(pacer.next(100'000, late).when, late);
  EXPECT_NEAR(ms(pacer.next(100'000, late).when - late), 4.096, 0.001);
}

TEST(Pacing, ConnectionsShareTheTotal) {
  SharedLine line{.bytes_per_s = 100e6};
  const TimePoint start{Nanos(0)};
  TimePoint last = start;
  for (int i = 0; i < 10;
       ++i) {  // ten bodies of 100 KB at 100 MB/s: one after the other, 10 ms in all
    Pacer pacer;
    pacer.begin(0, &line, start);
    last = pacer.next(100'000, start).when;
  }
  EXPECT_NEAR(ms(last - start), 10, 0.001);
}

TEST(Pacing, TheCommonLineServesWhoIsDueFirst) {
  SharedLine line{.bytes_per_s = 100e6};
  const TimePoint start{Nanos(0)};
  Pacer late, soon;
  late.begin(0, &line, start + std::chrono::milliseconds(100));
  soon.begin(0, &line, start + std::chrono::milliseconds(10));
  EXPECT_EQ(ms(late.next(100'000, start).when - start), 100);
  const Pacer::Chunk wait = soon.next(100'000, start);
  EXPECT_EQ(wait.bytes, 0u);
  EXPECT_NEAR(ms(soon.next(100'000, wait.when).when - start), 11, 0.001);  // 100 KB at 100 MB/s
}

}  // namespace
}  // namespace headrace::serve
