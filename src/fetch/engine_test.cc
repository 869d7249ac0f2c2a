// SPDX-License-Identifier: Apache-2.0
//
// The engine in virtual time: a memory store whose answers come late and out of order, budgets from generous to barely
// one batch. What must come out is what Order and Schedule say, and nothing may be left behind.
#include "fetch/engine.h"

#include <gtest/gtest.h>

#include <map>

#include "base/crc32c.h"
#include "format/dataset_index.h"
#include "store/memory_store.h"
#include "sys/buffer_pool.h"
#include "sys/random.h"

namespace headrace {
namespace {

// A stored sample is its 8-byte number, repeated.
std::string stored_sample(uint64_t number, uint64_t bytes) {
  std::string text;
  while (text.size() < bytes) text.append(reinterpret_cast<const char*>(&number), 8);
  text.resize(bytes);
  return text;
}

// Equal-sized rows, one field.
class FixedCutter final : public Cutter {
 public:
  explicit FixedCutter(uint64_t bytes) : bytes_(bytes) {}
  Status cut(Bytes bytes, uint64_t rows, SampleBatchView& out) const override {
    if (bytes.size() != rows * bytes_) return corrupt("rows do not fit");
    for (uint64_t i = 0; i < rows; ++i) {
      out.begin_sample("");
      out.add_field({"x", bytes.subspan(i * bytes_, bytes_), 0});
    }
    return {};
  }

 private:
  uint64_t bytes_;
};

// Answers after a random time, so in another order than asked.
class LateStore final : public ObjectStore {
 public:
  LateStore(ObjectStore& inner, uint64_t seed) : inner_(inner), random_(seed) {}
  void read(ReadRequest request, UniqueFunction<void(ReadOutcome)> done, std::stop_token stop) override {
    ++reads;
    bytes += request.range.size();
    if (flip_next > 0) {
      --flip_next;
      MutableBytes first = request.dst[0];
      done = [done = std::move(done), first](ReadOutcome o) mutable {
        first[first.size() / 2] ^= std::byte{1};
        done(std::move(o));
      };
    }
    const auto when = executor().clock().now() + std::chrono::microseconds(random_.next() % 50'000);
    executor().post_at(when, [this, request = std::move(request), done = std::move(done), stop]() mutable {
      inner_.read(std::move(request), std::move(done), stop);
    });
  }
  void head(std::string key, Completion<ObjectMeta> done, std::stop_token stop) override {
    inner_.head(std::move(key), std::move(done), stop);
  }
  void list(ListRequest r, Completion<ListPage> done, std::stop_token stop) override {
    inner_.list(std::move(r), std::move(done), stop);
  }
  void put(PutRequest r, Completion<ObjectMeta> done, std::stop_token stop) override {
    inner_.put(std::move(r), std::move(done), stop);
  }
  TimedExecutor& executor() override { return inner_.executor(); }
  const std::string& name() const override { return inner_.name(); }

  uint64_t reads = 0, bytes = 0, flip_next = 0;

 private:
  ObjectStore& inner_;
  SeededRandom random_;
};

struct World {
  std::vector<uint64_t> counts;
  uint64_t sample_bytes = 1000;
  uint64_t stride = 1;
  uint64_t block = 4, lanes = 6;
  Shuffle shuffle = Shuffle::kStratified;
  uint64_t batch = 5;
  uint32_t rank = 0, ranks = 1;
  Remainder remainder = Remainder::kDrop;
  uint64_t epochs = 1;
  uint64_t memory = 64 << 20;
  uint64_t seed = 1;
  Position start;
};

class Collector final : public FetchSink {
 public:
  void on_batch(FetchedBatch batch) override {
    for (const FetchedRow& row : batch.rows) {
      ASSERT_TRUE(row.piece->status.ok());
      const Bytes bytes = row.piece->view[row.row].fields[0].bytes;
      uint64_t number;
      std::memcpy(&number, bytes.data(), 8);
      EXPECT_EQ(number, row.sample);
      rows.push_back({row.epoch, row.position, row.valid});
      samples.push_back(row.sample);
    }
    after = batch.after;
    held.push_back(std::move(batch));
  }
  void on_end(Status status) override {
    ++ends;
    end_status = std::move(status);
  }
  std::vector<Row> rows;
  std::vector<uint64_t> samples;
  PlanPoint after;
  std::vector<FetchedBatch> held;
  int ends = 0;
  Status end_status;
};

struct Bench {
  explicit Bench(const World& w) : world(w), memory(executor), store(std::make_shared<LateStore>(memory, w.seed)) {
    std::vector<ShardEntry> shards;
    uint64_t number = 0;
    for (size_t s = 0; s < w.counts.size(); ++s) {
      std::string content;
      for (uint64_t i = 0; i < w.counts[s]; ++i) content += stored_sample(number++, w.sample_bytes);
      const std::string key = "shard" + std::to_string(s);
      shards.push_back({key, content.size(), memory.set(key, content), "", w.counts[s], ""});
    }
    IndexBuildOptions options;
    options.stride = w.stride;
    DatasetIndexBuilder builder(Format::kWebDataset, shards, options);
    number = 0;
    for (size_t s = 0; s < w.counts.size(); ++s) {
      ShardIndex found;
      found.samples = w.counts[s];
      found.stride = w.stride;
      found.borders = {0};
      for (uint64_t i = 0; i < w.counts[s]; i += w.stride) {
        std::string stride;
        for (uint64_t k = i; k < std::min(i + w.stride, w.counts[s]); ++k) {
          stride += stored_sample(number++, w.sample_bytes);
        }
        found.borders.push_back(found.borders.back() + stride.size());
        found.crcs.push_back(crc32c(as_bytes(stride)));
      }
      found.fields = {{"x", w.counts[s]}};
      EXPECT_TRUE(builder.add(s, found).ok());
    }
    index = *builder.finish();
    counts = std::make_shared<const ShardCounts>(w.counts);
    budget = Budget::root("memory budget", w.memory);
    buffers = std::make_shared<BufferPool>(budget, w.memory);
  }
  ~Bench() {
    if (!engine) return;
    std::thread closer([this] { engine->close(); });  // close() waits; somebody must turn the executor
    std::atomic<bool> done{false};
    std::thread joiner([&] {
      closer.join();
      done = true;
    });
    while (!done) {
      std::lock_guard lock(turn);
      executor.run_all();
    }
    joiner.join();
  }

  BatchPlanSpec plan_spec() const {
    BatchPlanSpec spec;
    spec.sources = {{counts, {world.seed, 0, world.block, world.lanes, world.shuffle}, nullptr, {}, 0}};
    spec.schedule = {0, world.batch * world.ranks, world.rank, world.ranks, world.remainder};
    spec.start = world.start;
    spec.epochs = world.epochs;
    return spec;
  }

  void start() {
    Result<BatchPlan> plan = BatchPlan::make(plan_spec());
    ASSERT_TRUE(plan.ok()) << plan.status().message();
    FetchOptions options;
    options.scatter_bytes_min = 900;
    options.gap_bytes_max = 500;
    FetchDeps deps{{{store, index, counts, std::make_shared<FixedCutter>(world.sample_bytes), ""}},
                   &executor, buffers, budget};
    sink = std::make_shared<Collector>();
    engine = FetchEngine::make(deps, *std::move(plan), options, sink);
    engine->start();
  }

  // Runs the pass; the consumer drops each batch before it asks for the next.
  void run(uint32_t window = 2) {
    start();
    engine->allow(window);
    for (int idle = 0; idle < 200 && sink->ends == 0;) {
      executor.run_all();
      if (sink->held.empty()) {
        ++idle;
        continue;
      }
      idle = 0;
      sink->held.erase(sink->held.begin());
      engine->batch_gone();
      engine->allow(1);
    }
    sink->held.clear();
  }

  // What must come, from the plan alone.
  void expect_exact() {
    Result<BatchPlan> plan = BatchPlan::make(plan_spec());
    std::vector<PlanRow> rows;
    PlanPoint after{world.start, nullptr};
    size_t at = 0;
    std::vector<uint64_t> segment;
    while (plan->next(rows, after)) {
      for (const PlanRow& row : rows) {
        ASSERT_LT(at, sink->rows.size());
        EXPECT_EQ(sink->rows[at], (Row{row.epoch, row.position, row.valid}));
        plan->samples(row, segment);
        EXPECT_EQ(sink->samples[at], segment[row.index]);
        ++at;
      }
    }
    EXPECT_EQ(at, sink->rows.size());
    EXPECT_EQ(sink->ends, 1);
    EXPECT_TRUE(sink->end_status.ok()) << sink->end_status.message();
    if (at > 0) {
      EXPECT_EQ(sink->after.at, after.at);
    }
    EXPECT_EQ(budget->used(), 0u);
  }

  World world;
  std::mutex turn;
  ManualClock clock;
  ManualExecutor executor{clock};
  MemoryStore memory;
  std::shared_ptr<LateStore> store;
  std::shared_ptr<const DatasetIndex> index;
  std::shared_ptr<const ShardCounts> counts;
  std::shared_ptr<Budget> budget;
  std::shared_ptr<BufferPool> buffers;
  std::shared_ptr<Collector> sink;
  std::shared_ptr<FetchEngine> engine;
};

TEST(FetchEngine, DeliversThePlanInEveryMode) {
  for (Shuffle shuffle : {Shuffle::kStratified, Shuffle::kBlock, Shuffle::kGlobal, Shuffle::kNone}) {
    for (Remainder remainder : {Remainder::kDrop, Remainder::kPad, Remainder::kWrap, Remainder::kShort}) {
      for (uint32_t ranks : {1u, 2u, 3u}) {
        for (uint64_t stride : {1u, 4u}) {
          World w;
          w.counts = {10, 7, 0, 12, 3, 41};
          w.shuffle = shuffle;
          w.remainder = remainder;
          w.ranks = ranks;
          w.rank = ranks - 1;
          w.stride = stride;
          w.epochs = 2;
          SCOPED_TRACE(testing::Message() << shuffle_name(shuffle) << " " << remainder_name(remainder) << " of "
                                          << ranks << " stride " << stride);
          Bench bench(w);
          bench.run();
          bench.expect_exact();
        }
      }
    }
  }
}

TEST(FetchEngine, KeepsTheOrderWithMemoryForBarelyABatch) {
  for (uint64_t memory : {1u << 20, 40u << 10, 20u << 10, 12u << 10}) {
    for (uint64_t seed = 1; seed <= 5; ++seed) {
      World w;
      w.counts = {100, 57, 83};
      w.block = 8;
      w.lanes = 10;
      w.epochs = 2;
      w.memory = memory;
      w.seed = seed;
      SCOPED_TRACE(testing::Message() << memory << " bytes, seed " << seed);
      Bench bench(w);
      bench.run(1);
      bench.expect_exact();
      EXPECT_LE(bench.budget->peak(), memory);
    }
  }
}

TEST(FetchEngine, SaysWhenOneBatchCannotFit) {
  World w;
  w.counts = {100};
  w.memory = 4 << 10;
  Bench bench(w);
  bench.run(1);
  EXPECT_EQ(bench.sink->ends, 1);
  EXPECT_EQ(bench.sink->end_status.code(), Code::kExhausted);
  EXPECT_NE(bench.sink->end_status.message().find("memory budget"), std::string::npos);
  EXPECT_EQ(bench.budget->used(), 0u);
}

TEST(FetchEngine, ReadsEachByteOnceAndKeepsToTheRequestBound) {
  World w;
  w.counts = {500, 500, 501, 499};
  w.block = 10;
  w.lanes = 20;
  w.batch = 10;
  Bench bench(w);
  bench.run();
  bench.expect_exact();
  EXPECT_EQ(bench.store->bytes, 2000u * w.sample_bytes);
  // order specification, "What the engine owes": 1.05 (F + S' + 3 L).
  EXPECT_LE(bench.store->reads, 1.05 * (2000 / 10 + 2 + 3 * 20));
}

TEST(FetchEngine, ResumesAnywhereWithoutAGap) {
  World w;
  w.counts = {60, 41, 33};
  Bench whole(w);
  whole.run();
  for (uint64_t batches = 1; batches < 20; batches += 6) {
    Result<BatchPlan> plan = BatchPlan::make(whole.plan_spec());
    std::vector<PlanRow> rows;
    PlanPoint after;
    for (uint64_t i = 0; i < batches; ++i) ASSERT_TRUE(plan->next(rows, after));
    w.start = after.at;
    Bench rest(w);
    rest.run();
    rest.expect_exact();
    const std::vector<uint64_t> tail(whole.sink->samples.begin() + static_cast<long>(batches * w.batch),
                                     whole.sink->samples.end());
    EXPECT_EQ(rest.sink->samples, tail);
    w.start = {};
  }
}

TEST(FetchEngine, ReadsAgainWhatFailsItsChecksumAndGivesUpInTheEnd) {
  World w;
  w.counts = {40};
  {
    Bench bench(w);
    bench.store->flip_next = 3;
    bench.run();
    bench.expect_exact();
    EXPECT_GE(bench.engine->metrics().rereads.value(), 3u);
  }
  {
    Bench bench(w);
    bench.store->flip_next = 1'000'000;
    bench.run();
    EXPECT_EQ(bench.sink->end_status.code(), Code::kCorrupt);
    EXPECT_NE(bench.sink->end_status.message().find("shard0"), std::string::npos);
    EXPECT_EQ(bench.budget->used(), 0u);
  }
}

TEST(FetchEngine, TellsThatAShardChangedAfterIndexing) {
  World w;
  w.counts = {40};
  Bench bench(w);
  bench.memory.set("shard0", std::string(40 * 1000, 'x'));
  bench.run();
  EXPECT_EQ(bench.sink->end_status.code(), Code::kPrecondition);
  EXPECT_NE(bench.sink->end_status.message().find("shard0"), std::string::npos);
}

TEST(FetchEngine, GivesLaneMemoryToAnotherClaimantAndStaysExact) {
  World w;
  w.counts = {200, 100};
  w.block = 10;
  w.lanes = 15;
  w.memory = 80 << 10;
  Bench bench(w);
  bench.start();
  bench.executor.run_all();
  const uint64_t before = bench.budget->used();
  bench.engine->give_back(20 << 10);
  bench.executor.run_ready();
  EXPECT_LT(bench.budget->used(), before - (15 << 10));
  for (int i = 0; i < 500 && bench.sink->ends == 0; ++i) {
    bench.engine->allow(1);
    bench.executor.run_all();
    while (!bench.sink->held.empty()) {
      bench.sink->held.pop_back();
      bench.engine->batch_gone();
    }
    if (i % 3 == 0) bench.engine->give_back(30 << 10);
    bench.executor.run_all();
  }
  bench.expect_exact();
  EXPECT_GT(bench.engine->metrics().evicted.value(), 0u);
}

TEST(FetchEngine, GivesUpEvenTheNextBatchWhileTheConsumerHasAnother) {
  World w;
  w.counts = {200, 100};
  w.block = 10;
  w.lanes = 15;
  w.memory = 30 << 10;
  Bench bench(w);
  bench.start();
  bench.engine->allow(1);
  bench.executor.run_all();
  ASSERT_EQ(bench.sink->held.size(), 1u);
  uint64_t held = 0;
  for (const FetchedRow& row : bench.sink->held[0].rows) held += row.piece->buffer.charged();
  bench.engine->give_back(w.memory - held);
  bench.executor.run_ready();
  EXPECT_EQ(bench.budget->used(), held);
  while (bench.sink->ends == 0) {
    if (!bench.sink->held.empty()) {
      bench.sink->held.clear();
      bench.engine->batch_gone();
      bench.engine->allow(1);
    }
    ASSERT_GT(bench.executor.run_all(), 0u);
  }
  bench.sink->held.clear();
  bench.expect_exact();
}

}  // namespace
}  // namespace headrace
