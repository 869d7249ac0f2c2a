// SPDX-License-Identifier: Apache-2.0
#include "fetch/read_ahead.h"

#include <gtest/gtest.h>

namespace headrace {
namespace {

using std::chrono::milliseconds;

// 1 MB answered every millisecond (1 GB/s) from `from` on for `ms`, each `latency` after it was sent.
void feed(ReadAhead& ahead, int from, int ms, Nanos latency) {
  for (int t = from; t < from + ms; ++t) ahead.on_read(TimePoint(milliseconds(t)), latency, 1'000'000);
}

TEST(ReadAhead, IsRateTimesTheSlowestReadAndAMargin) {
  ReadAhead ahead(1'000'000);
  feed(ahead, 0, 500, milliseconds(40));
  EXPECT_NEAR(ahead.bytes(), 1.3 * 1e9 * 0.040, 3e6);
  ahead.on_read(TimePoint(milliseconds(500)), milliseconds(300), 1'000'000);
  feed(ahead, 501, 100, milliseconds(40));
  EXPECT_NEAR(ahead.bytes(), 1.3 * 1e9 * 0.300, 20e6);
}

TEST(ReadAhead, KeepsTheBestRateThroughAStallAndForgetsAfterTwoSeconds) {
  ReadAhead ahead(1'000'000);
  feed(ahead, 0, 500, milliseconds(300));
  const uint64_t before = ahead.bytes();
  ahead.on_read(TimePoint(milliseconds(900)), milliseconds(40), 1000);  // nothing came for 400 ms
  EXPECT_EQ(ahead.bytes(), before);
  ahead.on_read(TimePoint(milliseconds(5000)), milliseconds(40), 1000);
  EXPECT_EQ(ahead.bytes(), 1'000'000u);
}

}  // namespace
}  // namespace headrace
