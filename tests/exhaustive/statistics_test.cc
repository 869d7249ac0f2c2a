// SPDX-License-Identifier: Apache-2.0
//
// Are the two permutations of the order as random as they should be? Chi-square tests, as z-values:
// (chi-square - its degrees of freedom) / sqrt(2 * degrees of freedom), which is normal within a
// few per cent here. Keys are fixed, so a test passes always or never; the largest |z| is printed
// and stands in docs/proofs.md. `spread` is stratified on purpose: what it fixes is tested exactly.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include "plan/integers.h"
#include "worlds.h"

namespace headrace::exhaustive {
namespace {

using Map = std::function<uint64_t(uint64_t)>;
constexpr double kLimit = 4.5;  // by chance beyond it: about 1 value in 50,000

// The largest |z| by kind of test, over all maps; checks each against kLimit.
class Findings {
 public:
  explicit Findings(std::string of) : of_(std::move(of)) {}
  ~Findings() {
    for (const auto& [test, found] : worst_) {
      const double all = (found.chi_squares - found.freedoms) / std::sqrt(2 * found.freedoms);
      std::printf("%s, %s: z of all %.2f, largest |z| %.2f of %zu (%s)\n", of_.c_str(),
                  test.c_str(), all, found.z, found.values, found.world.c_str());
      EXPECT_LT(std::abs(all), kLimit) << of_ << ", " << test;
    }
  }
  void add(const std::string& test, const std::string& world, double chi_square, double freedom) {
    const double z = std::abs(chi_square - freedom) / std::sqrt(2 * freedom);
    EXPECT_LT(z, kLimit) << of_ << ", " << test << ", " << world;
    Found& found = worst_[test];
    if (z >= found.z) found.world = world;
    found.z = std::max(found.z, z);
    found.chi_squares += chi_square;
    found.freedoms += freedom;
    ++found.values;
  }

 private:
  struct Found {
    double z = 0, chi_squares = 0, freedoms = 0;
    size_t values = 0;
    std::string world;  // of the largest
  };
  std::string of_;
  std::map<std::string, Found> worst_;
};

double chi_square(const std::vector<double>& counts, double expected) {
  double sum = 0;
  for (const double count : counts) sum += (count - expected) * (count - expected) / expected;
  return sum;
}

// value of n as a part of `parts`: value * parts / n.
uint64_t bin_of(uint64_t value, uint64_t n, uint64_t parts) {
  return static_cast<uint64_t>(static_cast<unsigned __int128>(value) * parts / n);
}

uint64_t seeds() { return full() ? 40 : 4; }

// A permutation against another numbering of the same things, i -> (a, b), in a table of bins: the
// sums of rows and columns are fixed, so (bins - 1)^2 degrees of freedom. n is a multiple of bins
// or large against them.
double table_of(uint64_t n, uint64_t draws, uint64_t bins, const Map& a, const Map& b) {
  std::vector<double> counts(bins * bins);
  for (uint64_t i = 0; i < draws; ++i)
    ++counts[bin_of(a(i), n, bins) * bins + bin_of(b(i), n, bins)];
  return chi_square(counts, static_cast<double>(draws) / static_cast<double>(bins * bins));
}

struct Size {
  uint64_t n, draws;  // draws < n: the first ones of a large permutation
};

constexpr Size kSizes[] = {{8'192, 8'192},
                           {65'536, 65'536},
                           {65'537, 65'537},
                           {100'003, 100'003},
                           {1'000'003, 1'000'003},
                           {4'194'303, 400'000},
                           {uint64_t{1} << 40, 400'000},
                           {(uint64_t{1} << 48) - 59, 400'000}};

Permutation permutation(uint64_t n, uint64_t seed, uint64_t epoch) {
  return Permutation(n, order_key(seed, epoch, OrderTag::kBlocks, 0));
}

// A part of a permutation has margins that vary: bins^2 - 1 degrees of freedom, else (bins - 1)^2.
double freedom_of(const Size& size, double bins) {
  return size.draws == size.n ? (bins - 1) * (bins - 1) : bins * bins - 1;
}

TEST(Statistics, PermutationIsUnrelatedToPlaceNeighbourEpochAndSeed) {
  Findings findings("permutation");
  constexpr uint64_t kBins = 16;
  for (const Size& size : kSizes) {
    const uint64_t n = size.n;
    // Other seeds for each n: the first levels of a tree do not depend on n.
    for (uint64_t seed = n; seed < n + seeds(); ++seed) {
      const std::string world = "n " + std::to_string(n) + " seed " + std::to_string(seed);
      const Permutation now = permutation(n, seed, 0), next = permutation(n, seed, 1),
                        other = permutation(n, seed + 1, 0);
      const Map at = std::cref(now), at_next = std::cref(next), at_other = std::cref(other);
      const Map place = [&](uint64_t i) { return bin_of(i, size.draws, n); };
      const Map neighbour = [&](uint64_t i) { return now(i + 1 < size.draws ? i + 1 : 0); };
      const double freedom = freedom_of(size, kBins);
      // Against the place: its margin is fixed too, but for a part the values' is not.
      const double placed = size.draws == n ? freedom : kBins * (kBins - 1.0);
      findings.add("place", world, table_of(n, size.draws, kBins, place, at), placed);
      findings.add("neighbour (lag 1)", world, table_of(n, size.draws, kBins, at, neighbour),
                   freedom);
      findings.add("next epoch", world, table_of(n, size.draws, kBins, at, at_next), freedom);
      findings.add("next seed", world, table_of(n, size.draws, kBins, at, at_other), freedom);
      std::vector<double> steps(256);  // differences of neighbours, modulo n
      for (uint64_t i = 0; i + 1 < size.draws; ++i) {
        ++steps[bin_of((now(i + 1) + n - now(i)) % n, n, steps.size())];
      }
      findings.add("difference of neighbours", world,
                   chi_square(steps, static_cast<double>(size.draws - 1) / 256), 255);
    }
  }
}

// How the classes of class-sorted data fall into batches of 256: for each batch chi-square of 16
// classes, which has 15 (n - 256) / (n - 1) degrees of freedom in the mean.
TEST(Statistics, PermutationFillsBatchesByChance) {
  Findings findings("permutation");
  for (const Size& size : kSizes) {
    for (uint64_t seed = size.n + 100; seed < size.n + 100 + seeds(); ++seed) {
      const Permutation at = permutation(size.n, seed, 3);
      const uint64_t batches = std::min<uint64_t>(size.draws, 500'000) / 256;
      double sum = 0;
      for (uint64_t batch = 0; batch < batches; ++batch) {
        std::vector<double> classes(16);
        for (uint64_t i = 0; i < 256; ++i) ++classes[bin_of(at(batch * 256 + i), size.n, 16)];
        sum += chi_square(classes, 16);
      }
      const auto n = static_cast<double>(size.n);
      const double wanted = 15 * (n - 256) / (n - 1);
      // A sum over batches: its variance is about that of `batches` chi-squares of 15.
      findings.add("classes of a batch", "n " + std::to_string(size.n), sum,
                   wanted * static_cast<double>(batches));
    }
  }
}

// Over keys: every element is equally likely at every index.
void every_element_everywhere(Findings& findings,
                              const std::function<uint64_t(uint64_t, uint64_t, uint64_t)>& at) {
  constexpr uint64_t kKeys = 40'000;
  for (const uint64_t n : {2, 3, 7, 13, 64, 100, 127}) {
    for (const uint64_t i : {uint64_t{0}, n / 3, n / 2, n - 1}) {
      std::vector<double> counts(n);
      for (uint64_t k = 0; k < kKeys; ++k) {
        ++counts[at(i, n, order_key(k, 5, OrderTag::kBlocks, n))];
      }
      findings.add("element at an index, over keys", "n " + std::to_string(n),
                   chi_square(counts, static_cast<double>(kKeys) / static_cast<double>(n)),
                   static_cast<double>(n - 1));
    }
  }
}

TEST(Statistics, EveryElementIsEquallyLikelyAtEveryIndex) {
  Findings tables("permutation (table)"), trees("spread");
  every_element_everywhere(tables,
                           [](uint64_t i, uint64_t n, uint64_t k) { return shuffled_at(n, k, i); });
  every_element_everywhere(trees,
                           [](uint64_t i, uint64_t n, uint64_t k) { return spread(i, n, k); });
}

// Exact: every aligned run of 2^a indices visits each of 2^a equal ranges once.
TEST(Statistics, SpreadVisitsEveryStratumOnceInEveryAlignedRun) {
  uint64_t runs = 0;
  for (const uint64_t odd : {1, 3, 19, 1001}) {
    for (const uint64_t depth : {1, 4, 8, 11}) {
      const uint64_t strata = uint64_t{1} << depth, n = odd * strata;
      for (uint64_t seed = 0; seed < 5; ++seed) {
        const uint64_t key = order_key(seed, 0, OrderTag::kBlocks, 0);
        for (uint64_t run = 0; run < std::min<uint64_t>(odd, 60); ++run, ++runs) {
          std::vector<uint8_t> seen(strata);
          for (uint64_t i = 0; i < strata; ++i) ++seen[spread(run * strata + i, n, key) / odd];
          ASSERT_EQ(std::count(seen.begin(), seen.end(), 1), static_cast<ptrdiff_t>(strata));
        }
      }
    }
  }
  std::printf("spread: %llu aligned runs, every stratum once in each\n",
              static_cast<unsigned long long>(runs));
}

// One index of every aligned run of 64 is free of the stratification: its values are independent
// draws, so a table of two such has bins^2 - 1 degrees of freedom.
TEST(Statistics, SpreadIsByChanceFromRunToRunEpochToEpochAndSeedToSeed) {
  Findings findings("spread");
  constexpr uint64_t kBins = 16, kRun = 64;
  for (const uint64_t n :
       {uint64_t{4'194'304}, uint64_t{4'194'303}, uint64_t{10'000'019}, uint64_t{1} << 40}) {
    const uint64_t draws = std::min<uint64_t>(n / kRun - 1, 100'000);
    // Other seeds for each n: the first levels of a tree do not depend on n.
    for (uint64_t seed = n; seed < n + seeds(); ++seed) {
      const std::string world = "n " + std::to_string(n) + " seed " + std::to_string(seed);
      const uint64_t offset = 3 * (seed - n) % kRun;
      const auto of = [&](uint64_t s, uint64_t epoch, uint64_t later) -> Map {
        return [=, key = order_key(s, epoch, OrderTag::kBlocks, 0)](uint64_t i) {
          return spread((i + later) * kRun + offset, n, key);
        };
      };
      const double freedom = kBins * kBins - 1.0;
      const Map at = of(seed, 0, 0);
      findings.add("next run", world, table_of(n, draws, kBins, at, of(seed, 0, 1)), freedom);
      findings.add("next epoch", world, table_of(n, draws, kBins, at, of(seed, 1, 0)), freedom);
      findings.add("next seed", world, table_of(n, draws, kBins, at, of(seed + 1, 0, 0)), freedom);
    }
  }
}

}  // namespace
}  // namespace headrace::exhaustive
