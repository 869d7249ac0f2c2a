// SPDX-License-Identifier: Apache-2.0
//
// Compares mixtures, weighted draws and folds with tests/golden/*.json: random worlds computed by
// the models (tests/model/mixture_model.py, sampling_model.py), which were written from the
// specification and not from this code.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "plan/mixture.h"
#include "plan/selection.h"
#include "plan/weighted_draws.h"

namespace headrace {
namespace {

using Json = nlohmann::json;
using Numbers = std::vector<uint64_t>;

Json golden(const std::string& name) {
  std::ifstream file(std::string(HR_SOURCE_DIR) + "/tests/golden/" + name);
  Json json = Json::parse(file, nullptr, false);
  EXPECT_FALSE(json.is_discarded() || json.empty()) << name;
  return json;
}

MixturePoint point_of(const Json& json) {
  MixturePoint point{json[0], json[1], json[2], json[3], {}, json[5].get<Numbers>()};
  for (const Json& at : json[4]) point.sources.push_back({at[0], at[1], 0});
  return point;
}

TEST(GoldenUnits, WeightsCountsAndSources) {
  const Json file = golden("units.json");
  for (const Json& world : file) {
    if (world.contains("given")) {
      for (const Json& given : world["given"]) {
        const auto weights = mixture_weights(given[0].get<std::vector<double>>());
        ASSERT_TRUE(weights.ok()) << weights.status().message();
        EXPECT_EQ(*weights, given[1].get<Numbers>());
      }
      continue;
    }
    const auto tree = MixtureTree::make(world["weights"].get<Numbers>());
    ASSERT_TRUE(tree.ok()) << tree.status().message();
    for (size_t i = 0; i < world["at"].size(); ++i) {
      const uint64_t at = world["at"][i];
      const auto counts = world["counts"][i].get<Numbers>();
      for (uint32_t source = 0; source < counts.size(); ++source) {
        EXPECT_EQ(tree->count(source, at), counts[source]) << world["weights"] << " at " << at;
      }
      MixtureTree::Walk walk(*tree, at);
      for (size_t j = 0; j < world["sources"][i].size(); ++j) {
        EXPECT_EQ(tree->source_of(at + j), world["sources"][i][j].get<uint32_t>());
        EXPECT_EQ(walk.next(), world["sources"][i][j].get<uint32_t>());
      }
    }
  }
}

MixtureSpec spec_of(const Json& world) {
  MixtureSpec spec{.seed = world["seed"],
                   .group = world["group"],
                   .batch = world["batch"],
                   .epoch_samples = world["epoch_samples"]};
  for (const Json& source : world["sources"]) {
    spec.sources.push_back({"source " + std::to_string(spec.sources.size()), source[0],
                            *parse_source_end(source[1].get<std::string>())});
  }
  for (const Json& change : world["changes"]) {
    spec.changes.push_back({change[0], change[1].get<Numbers>()});
  }
  return spec;
}

// The rank's rows of a batch that is given as source, epoch, position by row number.
std::vector<Row> rows_of(const Json& flat, uint32_t rank, uint32_t world) {
  std::vector<Row> rows;
  for (size_t i = 3 * rank; i < flat.size(); i += 3 * world) {
    rows.push_back({flat[i + 1], flat[i + 2], true, flat[i]});
  }
  return rows;
}

uint64_t compare_on_rank(const Json& world, uint32_t rank, uint32_t ranks) {
  MixtureSpec spec = spec_of(world);
  spec.rank = rank;
  spec.world = ranks;
  const MixturePoint start = point_of(world["start"]);
  const bool fresh = start.steps == 0;
  Result<MixtureSchedule> schedule = MixtureSchedule::make(spec, fresh ? MixturePoint{} : start);
  EXPECT_TRUE(schedule.ok()) << schedule.status().message();
  if (!schedule.ok()) return 0;
  std::vector<Row> rows, rows_after;
  MixturePoint after, unused;
  uint64_t batches = 0;
  for (const Json& batch : world["batches"]) {
    const uint64_t epoch = schedule->point().epoch;
    const bool there = schedule->next(rows, after);
    EXPECT_EQ(there, !batch.is_null()) << "batch " << batches << " of " << world.dump();
    if (!there || batch.is_null()) {
      schedule->next_epoch();
      continue;
    }
    if (after.epoch != epoch) {  // that was the epoch's last batch
      EXPECT_FALSE(schedule->next(rows_after, unused));
      schedule->next_epoch();
    }
    EXPECT_EQ(rows, rows_of(batch["rows"], rank, ranks)) << world.dump() << " rank=" << rank;
    EXPECT_EQ(after, point_of(batch["after"])) << world.dump() << " rank=" << rank;
    ++batches;
  }
  const bool there = schedule->next(rows, after);
  EXPECT_EQ(schedule->over(), world["over"].get<bool>()) << world.dump();
  EXPECT_FALSE(there && schedule->over());
  return batches;
}

TEST(GoldenMixtures, EveryWorldOnEveryRank) {
  uint64_t batches = 0;
  for (const Json& world : golden("mixtures.json")) {
    const uint32_t b = world["batch"];
    for (uint32_t ranks = 1; ranks <= b; ++ranks) {
      if (b % ranks != 0) continue;
      for (uint32_t rank = 0; rank < ranks; ++rank) batches += compare_on_rank(world, rank, ranks);
    }
  }
  EXPECT_GT(batches, 10'000u);  // the file is the whole one
}

TEST(GoldenDraws, EveryWorldAsColumnAndAsRuns) {
  uint64_t draws = 0;
  for (const Json& world : golden("draws.json")) {
    const auto column = world["weights"].get<std::vector<float>>();
    std::vector<WeightedDraws::Run> runs;
    for (size_t i = 0; i < column.size(); ++i) {
      if (i == 0 || column[i] != column[i - 1]) runs.push_back({i, column[i]});
    }
    const auto a = WeightedDraws::from_column(column, nullptr, world["seed"]);
    const auto b = WeightedDraws::from_runs(runs, column.size(), world["seed"]);
    ASSERT_TRUE(a.ok() && b.ok());
    EXPECT_EQ((*a)->hash(), (*b)->hash());
    for (uint64_t i = 0; i < column.size(); ++i) {
      EXPECT_EQ((*a)->weight(i), world["integers"][i].get<uint64_t>());
      EXPECT_EQ((*b)->weight(i), world["integers"][i].get<uint64_t>());
    }
    for (size_t i = 0; i < world["at"].size(); ++i, ++draws) {
      const uint64_t epoch = world["at"][i][0], position = world["at"][i][1];
      EXPECT_EQ((*a)->draw(epoch, position), world["samples"][i].get<uint64_t>());
      EXPECT_EQ((*b)->draw(epoch, position), world["samples"][i].get<uint64_t>());
    }
  }
  EXPECT_GT(draws, 250u);  // the file is the whole one
}

TEST(GoldenFolds, EveryWorld) {
  for (const Json& world : golden("folds.json")) {
    for (size_t i = 0; i < world["ids"].size(); ++i) {
      EXPECT_EQ(fold_of(world["ids"][i], world["seed"], world["of"]),
                world["folds"][i].get<uint64_t>());
    }
  }
}

}  // namespace
}  // namespace headrace
