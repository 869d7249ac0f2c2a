// SPDX-License-Identifier: Apache-2.0
#include "plan/weighted_draws.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "plan/integers.h"
#include "plan/shard_counts.h"

namespace headrace {
namespace {

using Draws = std::shared_ptr<const WeightedDraws>;
using Run = WeightedDraws::Run;
using Runs = std::vector<Run>;
using Column = std::vector<float>;

Draws of_runs(const Runs& runs, uint64_t samples, uint64_t seed = 1) {
  auto draws = WeightedDraws::from_runs(runs, samples, seed);
  EXPECT_TRUE(draws.ok()) << draws.status().message();
  return *draws;
}

Draws of_column(Column weights, uint64_t seed = 1) {
  const auto held = std::make_shared<const Column>(std::move(weights));
  auto draws = WeightedDraws::from_column(*held, held, seed);
  EXPECT_TRUE(draws.ok()) << draws.status().message();
  return *draws;
}

Column column_of(const Runs& runs, uint64_t samples) {
  Column column;
  size_t run = 0;
  for (uint64_t i = 0; i < samples; ++i) {
    if (run + 1 < runs.size() && runs[run + 1].first_sample == i) ++run;
    column.push_back(static_cast<float>(runs[run].weight));
  }
  return column;
}

// On paper: 3 samples of weights 1, 0, 3; E = 2 (3 < 4), bits(3) = 2, k = 58; the sum is 2^60 of
// bit width 61, so t = 58 + 62 - 61 = 59.
TEST(WeightedDraws, IntegerWeightsAreThoseOfThePaper) {
  const Draws draws = of_column({1, 0, 3});
  EXPECT_EQ(draws->weight(0), uint64_t{1} << 59);
  EXPECT_EQ(draws->weight(1), 0u);
  EXPECT_EQ(draws->weight(2), uint64_t{3} << 59);
  EXPECT_EQ(draws->total(), uint64_t{1} << 61);
  EXPECT_EQ(draws->share(2), 0.75);
}

TEST(WeightedDraws, ATinyWeightStillCountsAndZeroDoesNot) {
  const Draws draws = of_column({1, 1e-30F, 0, 1e-38F});
  EXPECT_EQ(draws->weight(1), 1u);
  EXPECT_EQ(draws->weight(2), 0u);
  EXPECT_EQ(draws->weight(3), 1u);
}

TEST(WeightedDraws, TheSumStaysBelow63Bits) {
  for (const uint64_t samples : {uint64_t{1}, uint64_t{1'000'000'007}, kSamplesMax}) {
    for (const double weight : {1e-200, 1.0, 3e200}) {
      const Draws draws = of_runs({{0, weight}}, samples);
      EXPECT_LT(draws->total(), uint64_t{1} << 63);
      EXPECT_GE(draws->total(), uint64_t{1} << 59);
    }
  }
  // One heavy sample does not make the others coarse: 1 in 10^9 of weight 10^9.
  const Draws skewed = of_runs({{0, 1e9}, {1, 1}}, 1'000'000'000);
  EXPECT_GT(skewed->weight(1), uint64_t{1} << 29);
}

// The same samples, weighed by class or one by one, at every position.
TEST(WeightedDraws, BothFormsDrawTheSame) {
  const std::vector<std::pair<Runs, uint64_t>> worlds = {
      {{{0, 1}}, 1},
      {{{0, 0}, {3, 5}, {4, 0}}, 9},
      {{{0, 0.25}, {255, 7}, {256, 0}, {300, 0.25}, {2000, 1}}, 5000},
      {{{0, 1}, {100, 1}, {200, 2}}, 1000},  // two runs of one weight
  };
  for (const auto& [runs, samples] : worlds) {
    const Draws a = of_runs(runs, samples, 99), b = of_column(column_of(runs, samples), 99);
    EXPECT_EQ(a->hash(), b->hash());
    EXPECT_EQ(a->total(), b->total());
    for (uint64_t position = 0; position < 20'000; ++position) {
      const uint64_t sample = a->draw(3, position);
      ASSERT_EQ(b->draw(3, position), sample);
      ASSERT_GT(a->weight(sample), 0u);
      ASSERT_EQ(a->weight(sample), b->weight(sample));
    }
  }
}

TEST(WeightedDraws, HashIsOfWhatIsDrawn) {
  const Hash128 hash = of_column({1, 2, 2, 4})->hash();
  EXPECT_EQ(of_column({1, 2, 2, 4}, 77)->hash(), hash);  // the seed is in the state
  EXPECT_EQ(of_column({2, 4, 4, 8})->hash(), hash);      // the same shares
  EXPECT_NE(of_column({1, 2, 4, 4})->hash(), hash);
  EXPECT_NE(of_column({1, 2, 2, 4, 0})->hash(), hash);
  EXPECT_NE(of_runs({{0, 1}}, 10)->hash(), of_runs({{0, 1}}, 11)->hash());
  Runs many, more;  // more runs than are hashed at a time
  for (uint64_t i = 0; i < 10'000; ++i) many.push_back({i, 1.0 + static_cast<double>(i % 2)});
  more = many;
  std::swap(more[8000].weight, more[8001].weight);
  EXPECT_EQ(of_runs(many, 10'000)->hash(), of_column(column_of(many, 10'000))->hash());
  EXPECT_NE(of_runs(more, 10'000)->hash(), of_runs(many, 10'000)->hash());
}

TEST(WeightedDraws, EpochsPositionsAndSeedsDrawAnew) {
  const Draws one = of_runs({{0, 1}}, 1'000'000, 1), two = of_runs({{0, 1}}, 1'000'000, 2);
  int same_epoch = 0, same_seed = 0, same_position = 0;
  for (uint64_t p = 0; p < 1000; ++p) {
    same_epoch += one->draw(0, p) == one->draw(1, p) ? 1 : 0;
    same_seed += one->draw(0, p) == two->draw(0, p) ? 1 : 0;
    same_position += one->draw(0, p) == one->draw(0, p + 1) ? 1 : 0;
  }
  EXPECT_LE(same_epoch + same_seed + same_position, 3);  // expected 0.003
}

// 10^9 samples of 3 classes hold three entries; the heavy class is found at its odds.
TEST(WeightedDraws, ABillionSamplesByClassTakeNoRoom) {
  const Draws draws = of_runs({{0, 1}, {600'000'000, 0}, {900'000'000, 18}}, 1'000'000'000);
  uint64_t heavy = 0;
  for (uint64_t p = 0; p < 100'000; ++p) {
    const uint64_t sample = draws->draw(0, p);
    EXPECT_TRUE(sample < 600'000'000 || sample >= 900'000'000);
    heavy += sample >= 900'000'000 ? 1 : 0;
  }
  // 18 * 0.1 of 0.6 + 1.8 = 75 %; the standard deviation is 137.
  EXPECT_NEAR(heavy, 75'000, 4 * 137);
}

// z of chi-square over the bins that expect 20 draws and more, of 10^6 draws; and of the pairs of
// neighbouring draws (serial correlation, lag 1), by class.
struct Fit {
  double z = 0, z_pairs = 0;
};

Fit fit_of(const Draws& draws, uint64_t bins) {
  constexpr uint64_t kDraws = 1'000'000;
  const uint64_t n = draws->samples(), classes = std::min<uint64_t>(bins, 16);
  std::vector<double> share(bins), found(bins), class_share(classes), pairs(classes * classes);
  for (uint64_t i = 0; i < n; ++i) {
    const double each = draws->share(i);
    share[i * bins / n] += each;
    class_share[i * bins / n * classes / bins] += each;
  }
  uint64_t last = 0;
  for (uint64_t p = 0; p < kDraws; ++p) {
    const uint64_t bin = draws->draw(7, p) * bins / n, kind = bin * classes / bins;
    found[bin] += 1;
    if (p > 0) pairs[last * classes + kind] += 1;
    last = kind;
  }
  const auto z_of = [](const std::vector<double>& counts, const std::vector<double>& wanted) {
    double chi_square = 0, cells = 0;
    for (size_t i = 0; i < counts.size(); ++i) {
      if (wanted[i] == 0) {
        EXPECT_EQ(counts[i], 0);
      } else if (wanted[i] >= 20) {
        chi_square += (counts[i] - wanted[i]) * (counts[i] - wanted[i]) / wanted[i];
        ++cells;
      }
    }
    return (chi_square - (cells - 1)) / std::sqrt(2 * (cells - 1));
  };
  std::vector<double> wanted(bins), wanted_pairs(pairs.size());
  for (uint64_t i = 0; i < bins; ++i) wanted[i] = share[i] * kDraws;
  for (uint64_t i = 0; i < pairs.size(); ++i) {
    wanted_pairs[i] = class_share[i / classes] * class_share[i % classes] * (kDraws - 1);
  }
  return {z_of(found, wanted), z_of(pairs, wanted_pairs)};
}

TEST(WeightedDraws, DrawsFitTheirWeights) {
  OrderStream random(4);
  Column uniform(1000, 1.0F), steep, lot, gaps;
  for (int i = 0; i < 1000; ++i) {
    steep.push_back(std::exp(-0.01F * static_cast<float>(i)));
    lot.push_back(static_cast<float>(random.bounded(1000)));
    gaps.push_back(i % 7 == 0 ? static_cast<float>(i % 13) : 0.0F);
  }
  const std::vector<std::pair<std::string, Draws>> worlds = {
      {"uniform", of_column(uniform, 5)},
      {"steep", of_column(steep, 6)},
      {"by lot", of_column(lot, 7)},
      {"gaps", of_column(gaps, 8)},
      {"classes", of_runs({{0, 1}, {100, 50}, {101, 0.1}, {900, 3}}, 1000, 9)},
  };
  for (const auto& [name, draws] : worlds) {
    const Fit fit = fit_of(draws, 1000);
    EXPECT_LT(std::abs(fit.z), 4) << name;
    EXPECT_LT(std::abs(fit.z_pairs), 4) << name;
    std::printf("weighted draws, %s: z = %.2f, neighbours z = %.2f\n", name.c_str(), fit.z,
                fit.z_pairs);
  }
}

TEST(WeightedDraws, WeightsThatAreNoneAreNamed) {
  const auto column = [](Column weights) {
    return WeightedDraws::from_column(weights, nullptr, 1).status().message();
  };
  const float inf = std::numeric_limits<float>::infinity();
  const std::string range = "must be finite and not negative";
  EXPECT_NE(column({1, -1}).find("sample 1: weight=-1.000000, " + range), std::string::npos);
  EXPECT_NE(column({std::nanf("")}).find("sample 0: weight=nan, " + range), std::string::npos);
  EXPECT_NE(column({1, 1, inf}).find("sample 2: weight=inf, " + range), std::string::npos);
  EXPECT_NE(column({0, 0}).find("all weights are 0: samples=2"), std::string::npos);
  EXPECT_NE(column({}).find("samples=0, must be 1.."), std::string::npos);

  const auto runs = [](Runs given, uint64_t samples) {
    return WeightedDraws::from_runs(given, samples, 1).status().message();
  };
  EXPECT_NE(runs({}, 5).find("the first run must begin at 0"), std::string::npos);
  EXPECT_NE(runs({{1, 1}}, 5).find("the first run must begin at 0"), std::string::npos);
  EXPECT_NE(runs({{0, 1}, {0, 2}}, 5).find("run 0 must end after its beginning 0, not at 0"),
            std::string::npos);
  EXPECT_NE(runs({{0, 1}, {5, 2}}, 5).find("run 1 must end after its beginning 5, not at 5"),
            std::string::npos);
  EXPECT_NE(runs({{0, 1}, {3, std::nan("")}}, 5).find("sample 3: weight=nan"), std::string::npos);
  EXPECT_NE(runs({{0, 0}, {3, 0}}, 5).find("all weights are 0"), std::string::npos);
  EXPECT_NE(runs({{0, 1}}, kSamplesMax + 1).find("samples="), std::string::npos);
  EXPECT_NE(runs({{0, 1e-300}}, 5).find("scale the weights"), std::string::npos);
  EXPECT_NE(runs({{0, 1e300}}, 5).find("scale the weights"), std::string::npos);
}

TEST(WeightedDraws, HoldsItsColumn) {
  auto weights = std::make_shared<const Column>(Column{1, 2, 3});
  const std::weak_ptr<const Column> watch = weights;
  auto draws = *WeightedDraws::from_column(*weights, weights, 1);
  weights.reset();
  EXPECT_FALSE(watch.expired());
  EXPECT_LT(draws->draw(0, 0), 3u);
  draws.reset();
  EXPECT_TRUE(watch.expired());
}

}  // namespace
}  // namespace headrace
