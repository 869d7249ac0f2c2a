// SPDX-License-Identifier: Apache-2.0
#include "store/duration_histogram.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "sys/random.h"

namespace headrace {
namespace {

using std::chrono::milliseconds;

double ms(Nanos span) { return static_cast<double>(span.count()) / 1e6; }

TEST(DurationHistogram, QuantilesOfALogNormalAreThoseOnPaperToABucket) {
  // median 30 ms, sigma 0.35: the p-quantile is 30 exp(0.35 z_p); z_0.98 = 2.0537, z_0.5 = 0.
  SeededRandom random(7);
  DurationHistogram times;
  for (int i = 0; i < 20000; ++i) {
    const double normal = std::sqrt(-2 * std::log(1 - random.uniform())) *
                          std::cos(2 * std::numbers::pi * random.uniform());
    times.add(Nanos(static_cast<int64_t>(30e6 * std::exp(0.35 * normal))));
  }
  EXPECT_NEAR(ms(times.quantile(0.5)), 30, 30 * 0.12);
  EXPECT_NEAR(ms(times.quantile(0.98)), 61.6, 61.6 * 0.15);
}

TEST(DurationHistogram, NoMoreThanTheShareIsAboveTheQuantile) {
  DurationHistogram times;
  for (int i = 0; i < 98; ++i) times.add(milliseconds(20));
  for (int i = 0; i < 2; ++i) times.add(milliseconds(300));
  EXPECT_GE(times.quantile(0.98), milliseconds(20));
  EXPECT_LT(times.quantile(0.98), milliseconds(22));  // 9 % above 20 ms at most
  EXPECT_GE(times.quantile(0.99), milliseconds(300));
}

TEST(DurationHistogram, ForgetsWhatWasLongAgo) {
  DurationHistogram times;
  for (int i = 0; i < 1500; ++i) times.add(milliseconds(500));
  for (int i = 0; i < 20000; ++i) times.add(milliseconds(10));
  EXPECT_LT(times.quantile(0.999), milliseconds(11));
}

TEST(DurationHistogram, ExtremesAreKeptAndNothingIsZero) {
  DurationHistogram times;
  EXPECT_EQ(times.quantile(0.5), Nanos::zero());
  times.add(Nanos(-5));
  EXPECT_GT(times.quantile(0.5), Nanos::zero());
  times.add(std::chrono::hours(3));
  EXPECT_EQ(times.weight(), 2);
  EXPECT_GE(times.quantile(1.0), std::chrono::seconds(60));
}

}  // namespace
}  // namespace headrace
