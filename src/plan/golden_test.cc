// SPDX-License-Identifier: Apache-2.0
//
// Compares plan/ with tests/golden/*.json: random worlds computed by the model
// (tests/model/order_model.py), which was written from the specification and not from this code.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "plan/integers.h"
#include "plan/order.h"
#include "plan/schedule.h"

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

TEST(GoldenIntegers, MixKeyAndShuffled) {
  const Json file = golden("integers.json");
  for (const Json& entry : file["mix64"]) EXPECT_EQ(mix64(entry[0]), entry[1].get<uint64_t>());
  for (const Json& entry : file["key"]) {
    const Json& k = entry[0];
    EXPECT_EQ(order_key(k[0], k[1], static_cast<OrderTag>(k[2].get<uint64_t>()), k[3]),
              entry[1].get<uint64_t>());
  }
  for (const Json& entry : file["shuffled"]) {
    Numbers table(entry[0].get<uint64_t>());
    shuffled(std::span<uint64_t>(table), entry[1].get<uint64_t>());
    EXPECT_EQ(table, entry[2].get<Numbers>());
  }
}

TEST(GoldenIntegers, PermutationAndSpread) {
  const Json file = golden("integers.json");
  for (const Json& entry : file["permutation"]) {
    const Permutation permutation(entry[0].get<uint64_t>(), entry[1].get<uint64_t>());
    for (size_t i = 0; i < entry[2].size(); ++i) {
      EXPECT_EQ(permutation(entry[2][i]), entry[3][i].get<uint64_t>()) << "n=" << entry[0];
    }
  }
  for (const Json& entry : file["spread"]) {
    for (size_t i = 0; i < entry[2].size(); ++i) {
      EXPECT_EQ(spread(entry[2][i], entry[0], entry[1]), entry[3][i].get<uint64_t>())
          << "n=" << entry[0];
    }
  }
}

TEST(GoldenOrders, EveryWorld) {
  const Json file = golden("orders.json");
  size_t positions = 0;
  for (const Json& world : file) {
    const OrderSpec spec{.seed = world["seed"],
                         .epoch = world["epoch"],
                         .block = world["block"],
                         .lanes = world["lanes"],
                         .shuffle = *parse_shuffle(world["shuffle"].get<std::string>())};
    const auto counts = std::make_shared<const ShardCounts>(world["counts"].get<Numbers>());
    const Result<Order> order =
        world["units"] ? Order::make_units(counts, spec) : Order::make(counts, spec);
    ASSERT_TRUE(order.ok()) << order.status().message();
    Numbers segment;
    for (size_t i = 0; i < world["positions"].size(); ++i, ++positions) {
      const uint64_t position = world["positions"][i], sample = world["samples"][i];
      EXPECT_EQ(order->at(position), sample)
          << world.dump().substr(0, 200) << " position=" << position;
      const Order::Place place = order->place(position);
      order->samples(place.segment, segment);
      EXPECT_EQ(segment.at(place.index), sample);
    }
  }
  EXPECT_GT(positions, 3000u);  // the file is the whole one
}

Position position_of(const Json& numbers) { return {numbers[0], numbers[1], numbers[2]}; }

std::vector<Row> rows_of(const Json& json) {
  std::vector<Row> rows;
  for (const Json& row : json) rows.push_back({row[0], row[1], row[2]});
  return rows;
}

TEST(GoldenSchedules, EveryWorldOnEveryRank) {
  const Json file = golden("schedules.json");
  size_t batches = 0;
  for (const Json& world : file) {
    const uint32_t ranks = world["world"];
    for (uint32_t rank = 0; rank < ranks; ++rank) {
      const ScheduleSpec spec{.samples = world["samples"],
                              .batch = world["batch"],
                              .rank = rank,
                              .world = ranks,
                              .remainder = *parse_remainder(world["remainder"].get<std::string>())};
      Result<Schedule> schedule = Schedule::make(spec, position_of(world["start"]));
      ASSERT_TRUE(schedule.ok()) << schedule.status().message();
      std::vector<Row> rows;
      Position after;
      for (const Json& step : world["steps"]) {
        ASSERT_TRUE(schedule->next(rows, after)) << world.dump();
        EXPECT_EQ(rows, rows_of(step["ranks"][rank])) << world.dump() << " rank=" << rank;
        EXPECT_EQ(after, position_of(step["after"])) << world.dump() << " rank=" << rank;
        ++batches;
      }
      if (world["steps"].empty()) {
        EXPECT_FALSE(schedule->next(rows, after));
      }
    }
  }
  EXPECT_GT(batches, 500u);  // the file is the whole one
}

}  // namespace
}  // namespace headrace
