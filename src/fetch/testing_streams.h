// SPDX-License-Identifier: Apache-2.0
//
// Test support: data sets of small tars in a memory store whose answers come late and out of order, the stream engine
// over them in virtual time, and the pure stream order over their counts, which is what it must deliver.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <thread>

#include "fetch/stream_engine.h"
#include "format/testing_compress.h"
#include "format/testing_tar.h"
#include "format/webdataset.h"
#include "store/memory_store.h"
#include "sys/buffer_pool.h"
#include "sys/random.h"

namespace headrace::testing {

class LateStore final : public ObjectStore {
 public:
  LateStore(ObjectStore& inner, uint64_t seed) : inner_(inner), random_(seed) {}
  void read(ReadRequest request, UniqueFunction<void(ReadOutcome)> done, std::stop_token stop) override {
    ++reads;
    bytes += request.range.size();
    const auto when = executor().clock().now() + std::chrono::microseconds(random_.next() % 50'000);
    const auto spoil = spoils.find(request.key);
    if (spoil != spoils.end() && request.range.contains({spoil->second.at, spoil->second.at + 1})) {
      if (request.fresh) ++fresh;
      if (spoil->second.times-- > 0) done = spoiled(request, spoil->second.at - request.range.begin, std::move(done));
    }
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
  uint64_t reads = 0, bytes = 0;
  // Of an object: the byte that arrives with a bit flipped, so many times. How many of its later reads were `fresh`.
  struct Spoil {
    uint64_t at = 0;
    int times = 1;
  };
  std::map<std::string, Spoil> spoils;
  int fresh = 0;

 private:
  static UniqueFunction<void(ReadOutcome)> spoiled(const ReadRequest& request, uint64_t at,
                                                   UniqueFunction<void(ReadOutcome)> done) {
    return [bytes = request.dst[0], at, done = std::move(done)](ReadOutcome outcome) mutable {
      bytes[at] ^= std::byte{4};
      done(std::move(outcome));
    };
  }
  ObjectStore& inner_;
  SeededRandom random_;
};

inline std::string sample_name(uint64_t shard, uint64_t row) {
  return "s" + std::to_string(shard) + "r" + std::to_string(row);
}

struct World {
  std::vector<uint64_t> counts;
  std::string suffix = ".tar";  // ".tar.gz", ".tar.zst"
  uint64_t sample_bytes = 600;  // about
  uint64_t memory = 64 << 20;
  uint64_t seed = 1;
  uint64_t point_every = 2048;
};

using Sample = std::pair<uint64_t, uint64_t>;  // epoch, id

class Collector final : public FetchSink {
 public:
  void on_batch(FetchedBatch batch) override {
    for (const FetchedRow& row : batch.rows) {
      if (!row.piece->status.ok()) {
        bad.push_back(row.sample);
      } else {
        EXPECT_EQ(row.piece->view[row.row].key, sample_name(row.sample >> 32, row.sample & 0xffffffff));
      }
      if (row.valid) samples.push_back({row.epoch, row.sample});
      positions.push_back(row.position);
      invalid += !row.valid;
    }
    sizes.push_back(batch.rows.size());
    after.push_back(batch.after);
    held.push_back(std::move(batch));
  }
  void on_end(Status status) override {
    ++ends;
    end_status = std::move(status);
  }
  std::vector<Sample> samples;
  std::vector<uint64_t> positions, sizes, bad;
  uint64_t invalid = 0;
  std::vector<PlanPoint> after;
  std::vector<FetchedBatch> held;
  int ends = 0;
  Status end_status;
};

struct Bench {
  explicit Bench(const World& w) : world(w), memory(executor), store(std::make_shared<LateStore>(memory, w.seed)) {
    std::vector<ShardEntry> shards;
    std::mt19937_64 rng(w.seed);
    for (size_t s = 0; s < w.counts.size(); ++s) {
      std::string tar;
      for (uint64_t row = 0; row < w.counts[s]; ++row) {
        tar += tar_member(TarFields{sample_name(s, row) + ".x"}, text_like(rng() % (2 * w.sample_bytes), rng()));
        if (row % 3 == 0) tar += tar_member(TarFields{sample_name(s, row) + ".y"}, "y");
      }
      tar += std::string(1024, '\0');
      if (w.suffix == ".tar.gz")
        tar = gzip_of(tar.substr(0, tar.size() / 2), 6, 1) + gzip_of(tar.substr(tar.size() / 2), 1, 1);
      if (w.suffix == ".tar.zst") tar = zstd_of(tar.substr(0, tar.size() / 2)) + zstd_of(tar.substr(tar.size() / 2));
      set(s, std::move(tar));
    }
    budget = Budget::root("memory budget", w.memory);
    buffers = std::make_shared<BufferPool>(budget, w.memory);
  }
  ~Bench() { stop(); }

  void set(size_t s, std::string content) {
    const std::string key = "shard" + std::to_string(s) + world.suffix;
    const uint64_t size = content.size();
    entries.resize(std::max(entries.size(), s + 1));
    entries[s] = {key, size, memory.set(key, std::move(content)), "", 0, ""};
  }

  std::shared_ptr<const DatasetIndex> index() const {
    return DatasetIndexBuilder::uncounted(Format::kWebDataset, entries, "", {});
  }

  void stop() {
    if (!engine) return;
    std::atomic<bool> done{false};
    std::thread closer([&] {
      engine->close();
      done = true;
    });
    while (!done) executor.run_all();
    closer.join();
    engine = nullptr;
  }

  StreamSpec spec(uint64_t streams, uint64_t slots) const { return {world.counts.size(), streams, slots, world.seed}; }

  Status make(StreamJob job) {
    StreamFetchOptions options = fetch;
    options.chunk_bytes = 1500;
    options.decoder.point_every = world.point_every;
    options.headroom_bytes = headroom;
    options.on_indexed = [this](uint64_t shard, ShardIndex found) { indexed[shard] = std::move(found); };
    FetchSource source;
    source.store = store;
    source.index = index();
    source.shard_format = make_webdataset_format();
    source.cutter = std::make_shared<WebDatasetCutter>(std::vector<FieldEntry>{{"x", 0}});
    FetchDeps deps{{source}, workers, buffers, budget};
    sink = std::make_shared<Collector>();
    auto made = StreamEngine::make(std::move(deps), std::move(job), options, sink);
    if (made.ok()) engine = *made;
    return made.status();
  }

  // Runs until the pass is over or `batches` came.
  void run(StreamJob job, uint64_t batches = ~uint64_t{0}) {
    const Status status = make(std::move(job));
    ASSERT_TRUE(status.ok()) << status.message();
    engine->start();
    for (uint64_t n = 0; n < batches && sink->ends == 0; ++n) {
      engine->allow(1);
      executor.run_all();
      while (workers != &executor && sink->ends == 0 && sink->sizes.size() <= n) executor.run_all();
      ASSERT_TRUE(sink->ends > 0 || sink->sizes.size() == n + 1) << "stuck after " << sink->sizes.size() << " batches";
      if (!sink->held.empty()) {
        sink->held.clear();
        engine->batch_gone();
      }
    }
  }

  World world;
  ManualClock clock;
  ManualExecutor executor{clock};
  MemoryStore memory;
  std::shared_ptr<LateStore> store;
  std::vector<ShardEntry> entries;
  std::shared_ptr<Budget> budget;
  std::shared_ptr<BufferPool> buffers;
  std::shared_ptr<Collector> sink;
  std::shared_ptr<StreamEngine> engine;
  std::map<uint64_t, ShardIndex> indexed;
  uint64_t headroom = 0;
  StreamFetchOptions fetch;
  Executor* workers = &executor;
};

// The pure order over counts.
struct Pure {
  Pure(const StreamSpec& s, const std::vector<uint64_t>& c, uint64_t n, uint64_t e) : spec(s), counts(c), number(n) {
    begin(e);
  }
  void begin(uint64_t e) {
    epoch = e;
    slots = StreamSlots(spec, e, number);
    stored.clear();
    const StreamDeal deal(spec, e);
    for (uint64_t i = 0; i < deal.shards(number); ++i) {
      const uint64_t shard = deal.shard(number, i);
      for (uint64_t row = 0; row < counts[shard]; ++row) stored.push_back(stream_sample_id(shard, row));
    }
    while (slots.filling() && slots.head() < stored.size()) slots.fill();
  }
  bool ended() const { return slots.filled() == 0; }
  Sample take() { return {epoch, stored[slots.take(slots.head() < stored.size()).ordinal]}; }
  StreamSpec spec;
  const std::vector<uint64_t>& counts;
  uint64_t number, epoch;
  StreamSlots slots;
  std::vector<uint64_t> stored;
};

inline std::vector<Sample> wrapped(const StreamSpec& spec, const std::vector<uint64_t>& counts, uint64_t positions) {
  std::vector<Pure> streams;
  for (uint64_t s = 0; s < spec.streams; ++s) streams.emplace_back(spec, counts, s, 0);
  std::vector<Sample> out;
  for (uint64_t p = 0; p < positions; ++p) {
    Pure& stream = streams[p % spec.streams];
    while (stream.ended()) stream.begin(stream.epoch + 1);
    out.push_back(stream.take());
  }
  return out;
}

inline std::vector<Sample> drained(const StreamSpec& spec, const std::vector<uint64_t>& counts, uint64_t epoch) {
  std::vector<Pure> streams;
  for (uint64_t s = 0; s < spec.streams; ++s) streams.emplace_back(spec, counts, s, epoch);
  std::vector<Sample> out;
  for (bool any = true; any;) {
    any = false;
    for (Pure& stream : streams) {
      if (stream.ended()) continue;
      out.push_back(stream.take());
      any = true;
    }
  }
  return out;
}

inline StreamJob job_of(const StreamSpec& spec, uint64_t batch, StreamEnd end = StreamEnd::kShort, uint64_t epochs = 1) {
  StreamJob job;
  job.spec = spec;
  job.batch = batch;
  job.end = end;
  job.epochs = epochs;
  return job;
}

inline void resume_at(StreamJob& job, const PlanPoint& point) {
  job.epoch = point.at.epoch;
  job.position = point.at.position;
  job.turn = point.streams->turn;
  job.cuts = point.streams->cuts;
}

inline const std::vector<uint64_t> kCounts = {7, 0, 12, 3, 20, 1, 9};

}  // namespace headrace::testing
