// SPDX-License-Identifier: Apache-2.0
//
// The engine over units, in virtual time: several reads a unit, decoded as a whole, held until the last row is taken.
// What comes must be what the plan says, memory is never exceeded and nothing is left behind.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/endian.h"
#include "fetch/testing_deaf.h"
#include "fetch/testing_engine.h"
#include "format/testing_arrow.h"
#include "store/hedge_store.h"

namespace headrace {
namespace {

using namespace testing_engine;

// A unit's samples are their numbers, 8 bytes each; it is read in two halves.
class NumberUnits final : public UnitSource {
 public:
  NumberUnits(std::vector<uint64_t> counts, Executor& executor) : counts_(std::move(counts)), executor_(executor) {}
  const ShardCounts& counts() const override { return counts_; }
  Place place(uint64_t unit) const override {
    return {0, counts_.first(unit), {counts_.first(unit) * 8, counts_.first(unit + 1) * 8}};
  }
  Need need(uint64_t unit) const override {
    const ByteRange all = place(unit).range;
    const uint64_t middle = all.begin + all.size() / 2;
    Need need;
    need.reads = {{{all.begin, middle}, 0}, {{middle, all.end}, middle - all.begin}};
    if (middle == all.begin) need.reads.erase(need.reads.begin());
    need.read_bytes = all.size();
    need.buffer_bytes = all.size() + 16;
    need.decoded_bytes = guess(unit);
    return need;
  }
  uint64_t sample_bytes_mean() const override { return 8; }
  Result<std::shared_ptr<const UnitRows>> decode(uint64_t unit, MutableBytes buffer) const override {
    ++decoded;
    std::vector<int64_t> numbers;
    for (uint64_t row = 0; row < counts_.count(unit); ++row) {
      numbers.push_back(load_le<int64_t>(buffer.data() + row * 8));
      if (numbers.back() != static_cast<int64_t>(counts_.first(unit) + row)) return corrupt("a number is wrong");
    }
    UnitColumn column;
    column.field.name = "x";
    column.field.path = {"x"};
    column.field.value = UnitValue::kScalar;
    column.field.dtype = "int64";
    column.table = 0;
    std::vector<ArrowTable> tables;
    const auto rows = static_cast<int64_t>(numbers.size());
    tables.push_back(testing::make_table(testing::structure("", rows, {testing::numbers<int64_t>("x", "l", numbers)})));
    if (in_place) {  // the numbers where they were read to
      tables[0].array().children[0]->buffers[1] = buffer.data();
      tables[0].set_in_place(true);
    }
    return UnitRows::make(counts_.count(unit), {column}, std::move(tables));
  }
  Executor& executor() const override { return executor_; }
  std::string smaller_units_hint() const override { return "write smaller units"; }

  uint64_t guess(uint64_t unit) const { return unfolded ? 1 : counts_.count(unit) * 8; }

  mutable uint64_t decoded = 0;
  bool unfolded = false;  // decoded columns are larger than was guessed
  bool in_place = false;  // they stay in the buffer

 private:
  ShardCounts counts_;
  Executor& executor_;
};

class NumberSink final : public FetchSink {
 public:
  void on_batch(FetchedBatch batch) override {
    for (const FetchedRow& row : batch.rows) {
      if (row.piece->status.ok()) {
        SampleBatchView view;
        ASSERT_TRUE(row.piece->rows->sample(row.row, view).ok());
        EXPECT_EQ(load_le<uint64_t>(view[0].fields[0].bytes.data()), row.sample);
      } else {
        faults.push_back(row.piece->status);
      }
      samples.push_back(row.sample);
    }
    held.push_back(std::move(batch));
  }
  void on_end(Status status) override {
    ++ends;
    end_status = std::move(status);
  }
  std::vector<uint64_t> samples;
  std::vector<Status> faults;
  std::deque<FetchedBatch> held;
  int ends = 0;
  Status end_status;
};

struct UnitsBench {
  explicit UnitsBench(std::vector<uint64_t> units, uint64_t memory_bytes = 1 << 20)
      : memory(executor), store(std::make_shared<LateStore>(memory, 3)),
        source(std::make_shared<NumberUnits>(units, executor)) {
    std::string content;
    for (uint64_t i = 0; i < source->counts().total(); ++i) content += stored_sample(i, 8);
    const std::string etag = memory.set("file", content);
    index = DatasetIndexBuilder::uncounted(Format::kParquet, {{"file", content.size(), etag, "", 0, ""}}, "", {});
    budget = Budget::root("memory budget", memory_bytes);
    buffers = std::make_shared<BufferPool>(budget, memory_bytes);
    spec.sources.resize(1);
    spec.sources[0].counts = std::make_shared<const ShardCounts>(std::vector{source->counts().total()});
    spec.sources[0].units = std::make_shared<const ShardCounts>(source->counts());
    spec.sources[0].order = {.seed = 1, .epoch = 0, .block = 1, .lanes = 3, .shuffle = Shuffle::kStratified};
    spec.schedule = {0, 4, 0, 1, Remainder::kShort};
  }

  void run(KeepUnits keep = KeepUnits::kNo) {
    Result<BatchPlan> plan = BatchPlan::make(spec);
    ASSERT_TRUE(plan.ok()) << plan.status().message();
    FetchSource from{over ? over : store, index, spec.sources[0].counts, nullptr, "", true};
    from.units = source;
    from.keep_units = keep;
    sink = std::make_shared<NumberSink>();
    engine = FetchEngine::make({{from}, &executor, buffers, budget}, *std::move(plan), fetch, sink);
    engine->start();
    engine->allow(2);
    for (int idle = 0; idle < 200 && sink->ends == 0; ++idle) {
      executor.run_all();
      if (sink->held.empty()) continue;
      idle = 0;
      if (on_batch) on_batch();
      sink->held.pop_front();
      engine->batch_gone();
      engine->allow(1);
    }
    sink->held.clear();
    executor.run_all();
  }

  std::vector<uint64_t> planned() const {
    std::vector<uint64_t> out, segment;
    auto plan = *BatchPlan::make(spec);
    std::vector<PlanRow> rows;
    PlanPoint after;
    while (plan.next(rows, after)) {
      for (const PlanRow& row : rows) {
        plan.samples(row, segment);
        out.push_back(segment[row.index]);
      }
    }
    return out;
  }

  void expect_exact() const {
    EXPECT_EQ(sink->ends, 1);
    EXPECT_TRUE(sink->end_status.ok()) << sink->end_status.message();
    EXPECT_EQ(sink->samples, planned());
    EXPECT_EQ(budget->used(), 0u);
  }

  ~UnitsBench() {
    if (!engine) return;
    std::atomic<bool> done{false};
    std::thread closer([&] {
      engine->close();
      done = true;
    });
    while (!done) executor.run_all();
    closer.join();
  }

  ManualClock clock;
  ManualExecutor executor{clock};
  MemoryStore memory;
  std::shared_ptr<LateStore> store;
  std::shared_ptr<ObjectStore> over;  // what the engine reads from, when it is not `store`
  FetchOptions fetch;
  std::shared_ptr<NumberUnits> source;
  std::shared_ptr<const DatasetIndex> index;
  std::shared_ptr<Budget> budget;
  std::shared_ptr<BufferPool> buffers;
  BatchPlanSpec spec;
  std::function<void()> on_batch;  // while it is held
  std::shared_ptr<NumberSink> sink;
  std::shared_ptr<FetchEngine> engine;
};

const std::vector<uint64_t> kUnits{4, 9, 1, 6, 12, 3, 7};

TEST(EngineUnits, DeliversTheFrozenOrderAndReadsFewUnitsTwice) {
  UnitsBench bench(kUnits);
  bench.spec.sources[0].order.seed = 5;
  bench.spec.epochs = 2;
  bench.run();
  bench.expect_exact();
  // docs/ordering.md, the golden order of these units: seed 5, epoch 1, lanes 3.
  const std::vector<uint64_t> golden{6, 14, 33, 9, 38, 32, 11, 39};
  EXPECT_EQ(std::vector<uint64_t>(bench.sink->samples.begin() + 42, bench.sink->samples.begin() + 50), golden);
  EXPECT_LE(bench.source->decoded, 2u * (7 + 3));
  EXPECT_EQ(bench.engine->metrics().rereads.value(), 0u);
}

TEST(EngineUnits, AReadThatIsNotAnsweredIsMadeTwice) {
  UnitsBench bench(kUnits);
  auto deaf = std::make_shared<testing::DeafOnce>(bench.store, 3);
  StoreMetrics metrics;
  bench.over = std::make_shared<HedgeStore>(deaf, HedgeOptions{.share = 0.3}, &metrics);
  bench.fetch.spare_bytes = 16 << 10;
  bench.run();
  bench.expect_exact();
  EXPECT_EQ(metrics.hedges_won.value(), 1u);
  EXPECT_EQ(deaf->lanes.size(), 1u);
  EXPECT_FALSE(deaf->lanes.contains(0));
}

TEST(EngineUnits, EveryRankGetsItsRows) {
  std::vector<uint64_t> all;
  for (uint32_t rank = 0; rank < 3; ++rank) {
    UnitsBench bench(kUnits);
    bench.spec.schedule = {0, 12, rank, 3, Remainder::kShort};
    bench.run();
    bench.expect_exact();
    all.insert(all.end(), bench.sink->samples.begin(), bench.sink->samples.end());
    EXPECT_LE(bench.source->decoded, 7u + 3) << "each lane is one rank's";
  }
  std::ranges::sort(all);
  std::vector<uint64_t> each(42);
  for (uint64_t i = 0; i < 42; ++i) each[i] = i;
  EXPECT_EQ(all, each);
}

TEST(EngineUnits, StoredOrderAndSubsets) {
  UnitsBench stored(kUnits);
  stored.spec.sources[0].order.shuffle = Shuffle::kNone;
  stored.run();
  stored.expect_exact();
  EXPECT_EQ(stored.source->decoded, 7u);
  UnitsBench some(kUnits);
  some.spec.sources[0].selection = std::make_shared<const Selection>(*Selection::make({0x2aaaaaaaaaaull}, 42));
  some.run();
  some.expect_exact();
  EXPECT_EQ(some.sink->samples.size(), 21u);
}

TEST(EngineUnits, SingleSamplesKeepEveryUnit) {
  UnitsBench bench(kUnits);
  bench.spec.sources[0].units = nullptr;
  bench.spec.sources[0].order.shuffle = Shuffle::kGlobal;
  bench.spec.epochs = 2;
  bench.run(KeepUnits::kAll);
  bench.expect_exact();
  EXPECT_EQ(bench.source->decoded, 7u);
}

TEST(EngineUnits, KeepsTheOrderWithLittleMemory) {
  for (uint64_t bytes : {64u << 10, 8u << 10, 4u << 10}) {
    UnitsBench bench({30, 40, 20, 35, 25, 40, 38, 22}, bytes);
    bench.run();
    bench.expect_exact();
    EXPECT_LE(bench.budget->peak(), bytes);
  }
}

TEST(EngineUnits, UnitsThatAreKeptAreDecodedOnce) {
  UnitsBench bench(kUnits);
  bench.run();
  EXPECT_GT(bench.source->decoded, 7u) << "the order comes back to some for its tail";
  UnitsBench keeps(kUnits);
  keeps.spec.epochs = 3;
  keeps.run(KeepUnits::kWithRoom);
  keeps.expect_exact();
  EXPECT_EQ(keeps.source->decoded, 7u);
}

TEST(EngineUnits, KeptUnitsGoWhenTheirMemoryIsWanted) {
  std::vector<uint64_t> units(24, 100);  // decoded, 19,200 bytes
  units[3] = units[11] = 60;             // unequal, so that there is a tail
  for (uint64_t bytes : {64u << 10, 12u << 10, 10u << 10}) {
    UnitsBench bench(units, bytes);
    bench.spec.epochs = 2;
    bench.run(KeepUnits::kWithRoom);
    bench.expect_exact();
    EXPECT_LE(bench.budget->peak(), bytes);
    EXPECT_EQ(bench.source->decoded == 24u, bytes == 64u << 10) << bench.source->decoded;
  }
}

TEST(EngineUnits, AUnitThatCannotFitSaysSo) {
  UnitsBench bench({1000, 1000}, 8 << 10);
  bench.run();
  EXPECT_EQ(bench.sink->end_status.code(), Code::kExhausted);
  EXPECT_NE(bench.sink->end_status.message().find("write smaller units"), std::string::npos)
      << bench.sink->end_status.message();
}

TEST(EngineUnits, WhatDecodedColumnsReallyTakeIsCounted) {
  UnitsBench bench({40, 40, 40}, 1 << 20);
  bench.source->unfolded = true;
  bench.run();
  bench.expect_exact();
  EXPECT_GE(bench.budget->peak(), 3u * 40 * 8);
}

TEST(EngineUnits, RowsInPlaceKeepTheirBufferAndNothingElse) {
  for (KeepUnits keep : {KeepUnits::kNo, KeepUnits::kWithRoom, KeepUnits::kAll}) {
    UnitsBench bench(kUnits);
    bench.source->in_place = true;
    bench.run(keep);
    bench.expect_exact();  // each number is looked at when its batch comes, long after others were read
  }
  // All kept: the buffers, 7 units of 8 bytes a sample and 16, in classes of 1 KiB; not the numbers once more.
  UnitsBench bench(kUnits);
  bench.source->in_place = true;
  bench.spec.sources[0].units = nullptr;
  bench.spec.sources[0].order.shuffle = Shuffle::kGlobal;
  uint64_t held = 0;
  bench.on_batch = [&] { held = std::max(held, bench.budget->used()); };
  bench.run(KeepUnits::kAll);
  bench.expect_exact();
  EXPECT_EQ(held, 7u * 1024);
}

TEST(EngineUnits, DamageOnTheWayIsReadAgain) {
  UnitsBench bench(kUnits);
  bench.store->flip_next = 1;
  bench.run();
  bench.expect_exact();
  EXPECT_EQ(bench.engine->metrics().rereads.value(), 1u);
}

TEST(EngineUnits, DamageWhereItLiesIsAFaultOfTheUnitsRows) {
  UnitsBench bench(kUnits);
  std::string content;
  for (uint64_t i = 0; i < 42; ++i) content += stored_sample(i == 5 ? 99 : i, 8);  // in the second unit
  const std::string etag = bench.memory.set("file", content);
  bench.index = DatasetIndexBuilder::uncounted(Format::kParquet, {{"file", content.size(), etag, "", 0, ""}}, "", {});
  bench.run();
  EXPECT_EQ(bench.sink->faults.size(), 9u);
  EXPECT_NE(bench.sink->faults[0].message().find("decode rows 4 to 12 of file bytes [32, 104): a number is wrong"),
            std::string::npos)
      << bench.sink->faults[0].message();
  EXPECT_EQ(bench.sink->samples, bench.planned());
}

TEST(EngineUnits, AnotherObjectIsAnError) {
  UnitsBench bench(kUnits);
  bench.memory.set("file", std::string(42 * 8, 'x'));
  bench.run();
  EXPECT_EQ(bench.sink->end_status.code(), Code::kPrecondition);
}

}  // namespace
}  // namespace headrace
