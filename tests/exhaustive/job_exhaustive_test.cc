// SPDX-License-Identifier: Apache-2.0
//
// Whole jobs, by lot: a data set, an order, a rule, ranks. The samples that all ranks together get
// are the epoch's, step by step the same for every rank count; and cut at every step, its state as
// text, another rank count from there on: the same samples as if it had never stopped.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "plan/order.h"
#include "plan/schedule.h"
#include "plan/selection.h"
#include "plan/state.h"
#include "worlds.h"

namespace headrace::exhaustive {
namespace {

using Numbers = std::vector<uint64_t>;
using Global = std::vector<Numbers>;  // by step: the samples of valid rows of all ranks, sorted

struct Job {
  Order order;
  Selection selection;
  Remainder rule;
  uint64_t batch;

  Numbers samples_of(const std::vector<Row>& rows, std::map<uint64_t, Order>& epochs) const {
    Numbers samples;
    for (const Row& row : rows) {
      if (!row.valid) continue;
      const auto of = epochs.try_emplace(row.epoch, order.for_epoch(row.epoch)).first;
      samples.push_back(selection.sample(of->second.at(row.position)));
    }
    return samples;
  }
};

State state_of(const Job& job, const Position& at) {
  return {.order_hash = "aa",
          .epoch = at.epoch,
          .position = at.position,
          .block = job.order.block(),
          .lanes = job.order.lanes(),
          .shuffle = job.order.spec().shuffle,
          .remainder = job.rule,
          .drop = at.drop,
          .filter = job.selection.hash().hex()};
}

// `steps` steps on `ranks` ranks; the states after them, as text.
Global run(const Job& job, uint32_t ranks, Position start, size_t steps,
           std::vector<std::string>* states) {
  Global global(steps);
  std::map<uint64_t, Order> epochs;
  for (uint32_t rank = 0; rank < ranks; ++rank) {
    auto schedule = Schedule::make({job.order.size(), job.batch, rank, ranks, job.rule}, start);
    EXPECT_TRUE(schedule.ok()) << schedule.status().message();
    for (size_t s = 0; s < steps;) {
      std::vector<Row> rows;
      Position after;
      if (!schedule->next(rows, after)) {
        schedule->next_epoch();
        continue;
      }
      const Numbers samples = job.samples_of(rows, epochs);
      global[s].insert(global[s].end(), samples.begin(), samples.end());
      if (states != nullptr && rank == 0) states->push_back(*encode_state(state_of(job, after)));
      ++s;
    }
  }
  for (Numbers& samples : global) std::sort(samples.begin(), samples.end());
  return global;
}

Selection random_selection(OrderStream& random, uint64_t samples) {
  Numbers words((samples + 63) / 64);
  const uint64_t parts = random.bounded(3) == 0 ? 1 + random.bounded(8) : 8;
  for (uint64_t i = 0; i < samples; ++i) {
    if (random.bounded(8) < parts) words[i / 64] |= uint64_t{1} << (i % 64);
  }
  words[0] |= 1;
  return *Selection::make(std::move(words), samples);
}

Job random_job(OrderStream& random) {
  const ShardCounts all(random_counts(random, 1 + random.bounded(kShardsMax)));
  Selection selection = random_selection(random, all.total());
  const auto counts = std::make_shared<const ShardCounts>(*selection.counts(all));
  const bool units = random.bounded(4) == 0;
  const OrderSpec spec{.seed = random.draw(),
                       .block = 1 + random.bounded(9),
                       .lanes = 1 + random.bounded(counts->total() + 4),
                       .shuffle = static_cast<Shuffle>(random.bounded(units ? 3 : 4))};
  const auto rule = static_cast<Remainder>(random.bounded(4));
  const uint64_t largest = rule == Remainder::kDrop ? counts->total() : counts->total() + 9;
  return {units ? *Order::make_units(counts, spec) : *Order::make(counts, spec),
          std::move(selection), rule, 1 + random.bounded(std::min<uint64_t>(largest, 24))};
}

// The epoch's samples, each once, but those that `drop` leaves out.
void check_epoch(const Job& job, const Global& global, size_t steps) {
  if (job.rule == Remainder::kWrap) return;  // the tests of Schedule count it
  Numbers samples;
  for (size_t s = 0; s < steps; ++s) {
    samples.insert(samples.end(), global[s].begin(), global[s].end());
  }
  std::sort(samples.begin(), samples.end());
  ASSERT_EQ(std::adjacent_find(samples.begin(), samples.end()), samples.end());
  const uint64_t left_out = job.rule == Remainder::kDrop ? job.order.size() % job.batch : 0;
  ASSERT_EQ(samples.size(), job.order.size() - left_out);
  for (const uint64_t sample : samples) ASSERT_TRUE(job.selection.has(sample));
}

TEST(ExhaustiveJob, SamplesOfAllRanksCutAtEveryStep) {
  Tally tally("whole jobs by lot, all rank counts 1..8 that divide the batch, all cuts");
  OrderStream random(5);
  for (uint64_t i = 0; i < (full() ? 200'000u : 8'000u) && !HasFailure(); ++i) {
    const Job job = random_job(random);
    const bool drops = job.rule == Remainder::kDrop;
    const size_t steps = (job.order.size() + (drops ? 0 : job.batch - 1)) / job.batch;
    std::vector<std::string> states;
    const Position start{random.bounded(4), 0, 0};
    const Global one = run(job, 1, start, 2 * steps, &states);
    check_epoch(job, one, steps);
    for (uint32_t ranks = 1; ranks <= kRanksMax; ++ranks) {
      if (job.batch % ranks != 0) continue;
      ASSERT_EQ(run(job, ranks, start, 2 * steps, nullptr), one);
      for (size_t cut = 0; cut < states.size(); ++cut) {
        const State state = *parse_state(states[cut]);
        const size_t rest = states.size() - cut - 1;
        const Global resumed = run(job, ranks, state.at(), rest, nullptr);
        ASSERT_TRUE(std::equal(resumed.begin(), resumed.end(),
                               one.end() - static_cast<ptrdiff_t>(rest), one.end()))
            << "cut " << cut << " " << states[cut] << " batch " << job.batch << " ranks " << ranks;
        tally.add(rest * job.batch);
      }
    }
  }
}

}  // namespace
}  // namespace headrace::exhaustive
