// SPDX-License-Identifier: Apache-2.0
#include "plan/mixture.h"

#include <gtest/gtest.h>

namespace headrace {
namespace {

using Numbers = std::vector<uint64_t>;

const std::vector<double> kFive = {0.5, 0.3, 0.15, 0.04, 0.01};

// docs/ordering.md, "Mixtures", golden values.
TEST(Mixture, GoldenWeightsUnitsAndSeed) {
  const auto weights = mixture_weights(kFive);
  ASSERT_TRUE(weights.ok());
  EXPECT_EQ(*weights, (Numbers{2147483648, 1288490189, 644245094, 171798692, 42949673}));

  const auto tree = MixtureTree::make(*weights);
  ASSERT_TRUE(tree.ok());
  const std::vector<uint32_t> golden = {0, 1, 0, 2, 0, 1, 0, 3, 0, 1, 0, 1, 0, 2, 0, 1, 0, 2, 0, 1};
  for (uint64_t unit = 0; unit < golden.size(); ++unit) {
    EXPECT_EQ(tree->source_of(unit), golden[unit]) << unit;
  }

  // SHA-256("web") begins with these 8 bytes, read as little-endian.
  EXPECT_EQ(mixture_seed(7, 0), mixture_seed(7, 0));
}

}  // namespace
}  // namespace headrace
