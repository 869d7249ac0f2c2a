// SPDX-License-Identifier: Apache-2.0
//
// The stream order over damaged bytes: whole shards against the store's checksums, the second reading, what is mended
// and what is too late. What must be delivered is the pass without damage, to the byte.
#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "fetch/testing_deaf.h"
#include "fetch/testing_streams.h"
#include "store/hedge_store.h"

namespace headrace {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)

class Crc final : public ContentDigest {
 public:
  void update(Bytes bytes) override { crc_ = crc32c(bytes, crc_); }
  std::string finish() override { return std::to_string(crc_); }
  static std::unique_ptr<ContentDigest> make() { return std::make_unique<Crc>(); }

 private:
  uint32_t crc_ = 0;
};

// What the rows are, to the byte.
class Contents final : public FetchSink {
 public:
  void on_batch(FetchedBatch batch) override {
    for (const FetchedRow& row : batch.rows) {
      rows.emplace_back(row.sample, row.piece->status.ok() ? crc32c(row.piece->buffer.bytes()) : 0);
    }
    ++batches;
  }
  void on_end(Status status) override { end = std::move(status); }
  std::vector<std::pair<uint64_t, uint32_t>> rows;
  int batches = 0;
  std::optional<Status> end;
};

struct Checked : Bench {
  explicit Checked(const World& w, std::string_view algorithm = "CRC32C", bool certain = true) : Bench(w) {
    for (size_t s = 0; s < entries.size(); ++s) {
      const ByteRange all{0, entries[s].size};
      std::string content(all.size(), '\0');
      ReadRequest request;
      request.key = entries[s].key;
      request.range = all;
      request.dst = {std::as_writable_bytes(std::span(content))};
      memory.read(std::move(request), [](ReadOutcome outcome) { ASSERT_TRUE(outcome.status.ok()); }, {});
      executor.run_all();
      const auto value = std::to_string(crc32c(as_bytes(content)));
      memory.set_checksum(entries[s].key,
                          std::make_shared<const StoredChecksum>(StoredChecksum{algorithm, value, certain, Crc::make}));
    }
  }
  void wrong_checksum(const std::string& key, bool certain, std::string_view algorithm = "CRC32C") {
    memory.set_checksum(key, std::make_shared<const StoredChecksum>(StoredChecksum{algorithm, "7", certain, Crc::make}));
  }
  // One epoch, as fast as it comes. What was delivered, and how it ended.
  std::shared_ptr<Contents> read(StreamJob job) {
    auto contents = std::make_shared<Contents>();
    FetchSource source;
    source.store = over ? over : store;
    source.index = index();
    source.shard_format = make_webdataset_format();
    source.cutter = std::make_shared<WebDatasetCutter>(std::vector<FieldEntry>{{"x", 0}});
    StreamFetchOptions options = fetch;
    options.chunk_bytes = 1500;
    options.decoder.point_every = world.point_every;
    engine = *StreamEngine::make({{source}, workers, buffers, budget}, std::move(job), options, contents);
    engine->start();
    const auto begun = std::chrono::steady_clock::now();  // workers on threads take their time
    while (!contents->end && std::chrono::steady_clock::now() - begun < std::chrono::seconds(20)) {
      if (contents->batches == granted) engine->allow(1), ++granted;
      executor.run_all();
      for (; gone < contents->batches; ++gone) engine->batch_gone();
    }
    EXPECT_TRUE(contents->end.has_value()) << "stuck";
    rereads = engine->metrics().rereads.value();
    stop();
    EXPECT_EQ(budget->used(), 0u);
    return contents;
  }
  std::shared_ptr<Contents> epoch(uint64_t streams, uint64_t slots) {
    last_job = job_of(spec(streams, slots), 5);
    return read(last_job);
  }
  StreamJob last_job;
  std::shared_ptr<ObjectStore> over;  // what the engine reads from, when it is not `store`
  int gone = 0, granted = 0;
  uint64_t rereads = 0;
};

// All samples lie in the slots when the end of the shard is seen: nothing was delivered, all can be mended.
constexpr uint64_t kManySlots = 100;

TEST(StreamIntegrity, DamageOnTheWayIsReadAgainAndMendedInTheSlots) {
  for (const char* suffix : {".tar", ".tar.gz", ".tar.zst"}) {
    const World world{kCounts, suffix};
    Checked clean(world);
    const auto expected = clean.epoch(3, kManySlots);
    ASSERT_TRUE(expected->end->ok()) << expected->end->message();
    EXPECT_EQ(clean.rereads, 0u);
    const uint64_t size = clean.entries[4].size;
    for (const uint64_t at : {uint64_t{3}, uint64_t{700}, size / 2, size - 1}) {  // a header's, contents', padding's byte
      Checked hurt(world);
      hurt.store->spoils["shard4" + world.suffix] = {at, 1};
      const auto got = hurt.epoch(3, kManySlots);
      EXPECT_TRUE(got->end->ok()) << suffix << " at " << at << ": " << got->end->message();
      EXPECT_EQ(got->rows, expected->rows) << suffix << " at " << at;
      EXPECT_EQ(hurt.rereads, 1u) << suffix << " at " << at;
      EXPECT_EQ(hurt.store->fresh, 1);
    }
  }
}

TEST(StreamIntegrity, WhatWasDeliveredWronglyIsAnErrorThatNamesTheSample) {
  Checked hurt({{60}});
  hurt.store->spoils["shard0.tar"] = {700, 1};  // in the first sample's content, which is drawn long before the end
  const auto got = hurt.epoch(1, 1);
  EXPECT_EQ(got->end->code(), Code::kCorrupt);
  const std::string& message = got->end->message();
  EXPECT_NE(message.find("read memory:/shard0.tar: sample 0 was delivered as other bytes than were stored"),
            std::string::npos) << message;
  EXPECT_LT(got->rows.size(), 60u);
}

TEST(StreamIntegrity, AnObjectThatIsNotWhatItsChecksumSaysIsAnErrorWithBothValues) {
  Checked bench({kCounts});
  bench.wrong_checksum("shard4.tar", true);
  const auto got = bench.epoch(3, kManySlots);
  EXPECT_EQ(got->end->code(), Code::kCorrupt);
  EXPECT_NE(got->end->message().find("read memory:/shard4.tar: the bytes are not those that were stored: CRC32C "
                                     "expected=37 got="), std::string::npos) << got->end->message();  // '7' is 0x37
  EXPECT_EQ(bench.rereads, 1u);  // twice the same: it is the object
}

TEST(StreamIntegrity, DamageAtRestIsReadTwiceAndToldAsBefore) {
  Checked bench({kCounts, ".tar.gz"});
  bench.store->spoils["shard4.tar.gz"] = {300, 1000};
  const auto got = bench.epoch(3, kManySlots);
  EXPECT_EQ(got->end->code(), Code::kCorrupt);
  EXPECT_NE(got->end->message().find("shard4.tar.gz"), std::string::npos) << got->end->message();
  EXPECT_EQ(bench.rereads, 1u);
}

// An ETag that looks like an MD5 and is none.
TEST(StreamIntegrity, AValueNobodyVouchesForIsNoFalseAlarmAndBelievedOnce) {
  const World world{{5, 5, 5, 5}};
  Checked clean(world), bench(world);
  const auto expected = clean.epoch(1, kManySlots);
  for (const ShardEntry& entry : bench.entries) bench.wrong_checksum(entry.key, false);
  bench.last_job = job_of(bench.spec(1, kManySlots), 5, StreamEnd::kShort, 2);
  const auto got = bench.read(bench.last_job);
  EXPECT_TRUE(got->end->ok()) << got->end->message();
  ASSERT_EQ(got->rows.size(), 40u);
  EXPECT_EQ(std::vector(got->rows.begin(), got->rows.begin() + 20), expected->rows);
  EXPECT_LE(bench.rereads, 4u);  // those whose first range was under way when it was found out; none in epoch 1
}

TEST(StreamIntegrity, ChecksumsThatCostMoreThanReadingAreUsedWhenAskedFor) {
  for (const bool asked : {false, true}) {
    Checked bench({kCounts});
    bench.wrong_checksum("shard4.tar", true, "MD5");
    bench.fetch.check_slow = asked;
    EXPECT_EQ(bench.epoch(3, kManySlots)->end->ok(), !asked);
  }
}

TEST(StreamIntegrity, ObjectsWithoutAKnownChecksumAreReadOnce) {
  Checked bench({kCounts});
  for (const ShardEntry& entry : bench.entries) bench.memory.set_checksum(entry.key, nullptr);
  bench.store->spoils["shard4.tar"] = {700, 1};
  EXPECT_TRUE(bench.epoch(3, kManySlots)->end->ok());  // nobody could know
  EXPECT_EQ(bench.rereads, 0u);
}

// Of a shard that a resume begins in the middle of, no whole is seen; its own checksums still mend it.
TEST(StreamIntegrity, AShardThatIsResumedIsMendedByItsOwnChecksums) {
  const World world{{40}, ".tar.gz"};
  Checked whole(world);
  const StreamSpec spec = whole.spec(1, 3);
  whole.run(job_of(spec, 5), 4);
  StreamJob rest = job_of(spec, 5);
  resume_at(rest, whole.sink->after[3]);
  whole.stop();
  Checked clean(world), hurt(world);
  clean.last_job = hurt.last_job = rest;
  const auto expected = clean.read(rest);
  ASSERT_EQ(expected->rows.size(), 20u);
  hurt.store->spoils["shard0.tar.gz"] = {hurt.entries[0].size - 6, 1};  // in gzip's own CRC-32 at its end
  const auto got = hurt.read(rest);
  EXPECT_TRUE(got->end->ok()) << got->end->message();
  EXPECT_EQ(got->rows, expected->rows);
  EXPECT_EQ(hurt.rereads, 1u);
}

TEST(StreamIntegrity, WorkersOnThreadsMendTheSame) {
  const World world{kCounts, ".tar.zst"};
  Checked clean(world);
  const auto expected = clean.epoch(3, kManySlots);
  for (uint64_t at = 20; at < 2000; at += 450) {
    Checked hurt(world);
    ThreadPool pool(3, "test");
    hurt.workers = &pool;
    hurt.store->spoils["shard2.tar.zst"] = {at, 1};
    EXPECT_EQ(hurt.epoch(3, kManySlots)->rows, expected->rows) << at;
  }
}

TEST(StreamHedge, ARangeThatIsNotAnsweredIsReadTwice) {
  const World world{kCounts, ".tar.gz"};
  Checked clean(world);
  const auto expected = clean.epoch(3, 4);
  for (const uint64_t which : {0, 5, 9}) {
    Checked late(world);
    auto deaf = std::make_shared<DeafOnce>(late.store, which);
    StoreMetrics metrics;
    late.over = std::make_shared<HedgeStore>(deaf, HedgeOptions{.share = 0.3}, &metrics);
    late.fetch.spare_bytes = 64 << 10;
    EXPECT_EQ(late.epoch(3, 4)->rows, expected->rows);
    EXPECT_EQ(metrics.hedges_won.value(), 1u) << which;
    EXPECT_EQ(deaf->lanes.size(), 1u);
    EXPECT_FALSE(deaf->lanes.contains(0));  // its own, among the readers of the store
  }
}

}  // namespace
}  // namespace headrace
