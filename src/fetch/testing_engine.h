// SPDX-License-Identifier: Apache-2.0
//
// Test support: an engine in virtual time over a memory store whose answers come late and out of order, with one data
// set or several. What must come out is what the plan says, and nothing may be left behind.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <optional>
#include <thread>

#include "base/crc32c.h"
#include "fetch/engine.h"
#include "format/dataset_index.h"
#include "store/memory_store.h"
#include "sys/buffer_pool.h"
#include "sys/random.h"

namespace headrace::testing_engine {

// A stored sample is its 8-byte number, repeated.
inline std::string stored_sample(uint64_t number, uint64_t bytes) {
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
    rows_cut += rows;
    for (uint64_t i = 0; i < rows; ++i) {
      out.begin_sample("");
      out.add_field({"x", bytes.subspan(i * bytes_, bytes_), 0});
      if (made_each > 0) std::memset(out.text_room(made_each), 'm', made_each);
    }
    return {};
  }
  Status find_rows(const CutPlace&, Bytes, uint64_t rows, std::vector<uint32_t>& begins) const override {
    if (!tells_rows) return unsupported("rows cannot be told apart");
    for (uint64_t i = 0; i < rows; ++i) begins.push_back(static_cast<uint32_t>(i * bytes_));
    return {};
  }

  mutable std::atomic<uint64_t> rows_cut = 0;
  bool tells_rows = true;
  uint64_t made_each = 0;  // what cutting a row makes beside its bytes

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

// A data set and how it is ordered.
struct WorldSource {
  std::vector<uint64_t> counts;
  uint64_t sample_bytes = 1000;
  uint64_t stride = 1;
  uint64_t block = 4, lanes = 6;
  Shuffle shuffle = Shuffle::kStratified;
  std::shared_ptr<const Selection> selection;
  std::vector<DrawsFrom> draws;
};

struct World : WorldSource {
  std::vector<WorldSource> more;       // of a mixture
  std::optional<MixtureSpec> mixture;  // names, weights, ends; seed and group
  MixturePoint mixture_start;
  uint64_t batch = 5;
  uint32_t rank = 0, ranks = 1;
  Remainder remainder = Remainder::kDrop;
  uint64_t epochs = 1;
  uint64_t memory = 64 << 20;
  uint64_t seed = 1;
  Position start;
  FetchOptions fetch = bench_options();

  static FetchOptions bench_options() {
    FetchOptions options;
    options.scatter_bytes_min = 900;
    options.gap_bytes_max = 500;
    return options;
  }
  const WorldSource& source(size_t i) const { return i == 0 ? *this : more[i - 1]; }
  size_t sources() const { return 1 + more.size(); }
};

class Collector : public FetchSink {
 public:
  void on_batch(FetchedBatch batch) override {
    for (const FetchedRow& row : batch.rows) {
      ASSERT_TRUE(row.piece->status.ok());
      SampleBatchView late;
      if (row.piece->makes_late()) {
        ASSERT_TRUE(row.piece->make_sample(row.row, late).ok());
      }
      const Bytes bytes = (row.piece->makes_late() ? late[0] : row.piece->view[row.row]).fields[0].bytes;
      uint64_t number;
      std::memcpy(&number, bytes.data(), 8);
      EXPECT_EQ(number, row.sample + (uint64_t{row.source} << 48));
      rows.push_back({row.epoch, row.position, row.valid, row.source});
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
    for (size_t i = 0; i < w.sources(); ++i) add_source(i);
    index = sources[0].index;
    counts = sources[0].counts;
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

  // Sample k of source i is the number k + i * 2^48, repeated.
  void add_source(size_t i) {
    const WorldSource& w = world.source(i);
    const std::string prefix = i == 0 ? "" : "source" + std::to_string(i) + "/";
    std::vector<ShardEntry> shards;
    std::vector<ShardIndex> found(w.counts.size());
    uint64_t number = uint64_t{i} << 48;
    for (size_t s = 0; s < w.counts.size(); ++s) {
      std::string content;
      found[s].samples = w.counts[s];
      found[s].stride = w.stride;
      found[s].borders = {0};
      for (uint64_t k = 0; k < w.counts[s]; k += w.stride) {
        std::string stride;
        for (uint64_t j = k; j < std::min(k + w.stride, w.counts[s]); ++j) {
          stride += stored_sample(number++, w.sample_bytes);
        }
        content += stride;
        found[s].borders.push_back(content.size());
        found[s].crcs.push_back(crc32c(as_bytes(stride)));
      }
      found[s].fields = {{"x", w.counts[s]}};
      const std::string key = "shard" + std::to_string(s);
      shards.push_back({key, content.size(), memory.set(prefix + key, content), "", w.counts[s], ""});
    }
    IndexBuildOptions options;
    options.stride = w.stride;
    DatasetIndexBuilder builder(Format::kWebDataset, shards, options);
    for (size_t s = 0; s < found.size(); ++s) EXPECT_TRUE(builder.add(s, found[s]).ok());
    sources.push_back({store, *builder.finish(), std::make_shared<const ShardCounts>(w.counts),
                       cutters.emplace_back(std::make_shared<FixedCutter>(w.sample_bytes)), prefix});
  }

  BatchPlanSpec plan_spec() const {
    BatchPlanSpec spec;
    for (size_t i = 0; i < sources.size(); ++i) {
      const WorldSource& w = world.source(i);
      const uint64_t seed = i == 0 ? world.seed : mixture_seed(world.seed, i);
      spec.sources.push_back({sources[i].counts, {seed, 0, w.block, w.lanes, w.shuffle}, w.selection, w.draws, 0});
    }
    spec.mixture = world.mixture;
    spec.mixture_start = world.mixture_start;
    spec.schedule = {0, world.batch * world.ranks, world.rank, world.ranks, world.remainder};
    spec.start = world.start;
    spec.epochs = world.epochs;
    return spec;
  }

  void start() {
    Result<BatchPlan> plan = BatchPlan::make(plan_spec());
    ASSERT_TRUE(plan.ok()) << plan.status().message();
    FetchDeps deps{sources, &executor, buffers, budget};
    if (!sink) sink = std::make_shared<Collector>();
    engine = FetchEngine::make(deps, *std::move(plan), world.fetch, sink);
    engine->start();
  }

  // Runs the pass; the consumer drops each batch before it asks for the next.
  void run(uint32_t window = 2) {
    start();
    run_on(window);
  }
  void run_on(uint32_t window) {
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
    PlanPoint after;
    size_t at = 0;
    std::vector<uint64_t> segment;
    while (plan->next(rows, after)) {
      for (const PlanRow& row : rows) {
        ASSERT_LT(at, sink->rows.size());
        EXPECT_EQ(sink->rows[at], (Row{row.epoch, row.position, row.valid, row.source}));
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
      EXPECT_EQ(sink->after.mixture == nullptr, after.mixture == nullptr);
      if (after.mixture) {
        EXPECT_EQ(*sink->after.mixture, *after.mixture);
      }
    }
    EXPECT_EQ(budget->used(), 0u);
  }

  World world;
  std::mutex turn;
  ManualClock clock;
  ManualExecutor executor{clock};
  MemoryStore memory;
  std::shared_ptr<LateStore> store;
  std::vector<FetchSource> sources;
  std::vector<std::shared_ptr<FixedCutter>> cutters;  // theirs
  std::shared_ptr<const DatasetIndex> index;  // of the first
  std::shared_ptr<const ShardCounts> counts;
  std::shared_ptr<Budget> budget;
  std::shared_ptr<BufferPool> buffers;
  std::shared_ptr<Collector> sink;
  std::shared_ptr<FetchEngine> engine;
};

}  // namespace headrace::testing_engine
