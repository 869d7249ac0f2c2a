// SPDX-License-Identifier: Apache-2.0
//
// The stream engine in virtual time: tars in a memory store whose answers come late and out of order. What must come
// out is what the pure stream order says over the counts (checked against its model in plan/), from any cut, on any
// number of ranks.
#include <gtest/gtest.h>

#include "fetch/testing_streams.h"

namespace headrace {
namespace {

using namespace testing;

TEST(StreamEngine, DeliversTheStreamOrderWhateverTheFormat) {
  for (const char* suffix : {".tar", ".tar.gz", ".tar.zst"}) {
    for (uint64_t streams : {1, 3, 7}) {
      for (uint64_t slots : {1, 4, 100}) {
        Bench bench({kCounts, suffix, 600, 64 << 20, streams + slots});
        const StreamSpec spec = bench.spec(streams, slots);
        bench.run(job_of(spec, 5, StreamEnd::kShort, 2));
        EXPECT_TRUE(bench.sink->end_status.ok()) << bench.sink->end_status.message();
        std::vector<Sample> expected = drained(spec, kCounts, 0);
        for (const Sample& s : drained(spec, kCounts, 1)) expected.push_back(s);
        EXPECT_EQ(bench.sink->samples, expected) << suffix << " P=" << streams << " W=" << slots;
        bench.stop();
        EXPECT_EQ(bench.budget->used(), 0u);
      }
    }
  }
}

TEST(StreamEngine, HowAnEpochEnds) {
  const StreamSpec spec{7, 2, 4, 1};
  Bench shorter({kCounts}), dropping({kCounts}), padding({kCounts});  // 52 samples
  shorter.run(job_of(spec, 10, StreamEnd::kShort, 2));
  EXPECT_EQ(shorter.sink->sizes, (std::vector<uint64_t>{10, 10, 10, 10, 10, 2, 10, 10, 10, 10, 10, 2}));
  EXPECT_EQ(shorter.sink->after[5].at, (Position{1, 0, 0}));
  EXPECT_EQ(shorter.sink->after[4].at, (Position{0, 50, 0}));
  dropping.run(job_of(spec, 10, StreamEnd::kDrop, 2));
  EXPECT_EQ(dropping.sink->sizes, std::vector<uint64_t>(10, 10));
  EXPECT_EQ(dropping.sink->samples[50].first, 1u);
  EXPECT_EQ(dropping.sink->after[3].at, (Position{0, 40, 0}));
  EXPECT_EQ(dropping.sink->after[4].at, (Position{1, 0, 0}));  // what is left is no batch
  EXPECT_EQ(dropping.sink->after[4].streams->cuts[1].mark, stream_start(1, 1));
  Bench exact({kCounts}), larger({kCounts});
  exact.run(job_of(spec, 13, StreamEnd::kDrop, 2));
  EXPECT_EQ(exact.sink->sizes, std::vector<uint64_t>(8, 13));
  EXPECT_EQ(exact.sink->after[3].at, (Position{1, 0, 0}));
  larger.run(job_of(spec, 60, StreamEnd::kDrop, 2));
  EXPECT_EQ(larger.sink->end_status.code(), Code::kInvalidArgument) << larger.sink->end_status.message();
  padding.run(job_of(spec, 10, StreamEnd::kPad));
  EXPECT_EQ(padding.sink->sizes, std::vector<uint64_t>(6, 10));
  EXPECT_EQ(padding.sink->invalid, 8u);
  EXPECT_EQ(padding.sink->samples.size(), 52u);
}

// From every batch on, on every format: the rest is the same, and the state after it, too.
TEST(StreamEngine, ResumedAnywhereIsTheSameAsNeverStopped) {
  for (const char* suffix : {".tar", ".tar.gz", ".tar.zst"}) {
    Bench whole({kCounts, suffix});
    const StreamSpec spec = whole.spec(3, 5);
    whole.run(job_of(spec, 3, StreamEnd::kShort, 2));
    const auto& all = whole.sink->samples;
    ASSERT_EQ(all.size(), 104u);
    uint64_t delivered = 0, inside = 0;
    for (size_t n = 0; n + 1 < whole.sink->after.size(); ++n) {
      delivered += whole.sink->sizes[n];
      StreamJob job = job_of(spec, 3, StreamEnd::kShort, 2);
      resume_at(job, whole.sink->after[n]);
      job.epochs = 2 - job.epoch;
      for (const StreamCut& cut : job.cuts) inside += cut.point != nullptr && cut.point->inside;
      Bench rest({kCounts, suffix});
      rest.run(job);
      ASSERT_TRUE(rest.sink->end_status.ok()) << rest.sink->end_status.message();
      ASSERT_EQ(rest.sink->samples, std::vector<Sample>(all.begin() + static_cast<long>(delivered), all.end())) << n;
      const StreamSnapshot& end = *rest.sink->after.back().streams;
      for (size_t s = 0; s < end.cuts.size(); ++s) {
        EXPECT_EQ(end.cuts[s].mark, whole.sink->after.back().streams->cuts[s].mark);
      }
    }
    if (std::string(suffix) == ".tar.gz") {
      EXPECT_GT(inside, 5u) << "restart points inside a member were used";
    }
  }
}

TEST(StreamEngine, AnyNumberOfRanksDeliversTheSameOrder) {
  const std::vector<uint64_t> counts = {9, 4, 11, 6, 0, 13, 8, 5, 7, 10, 3, 12};
  const StreamSpec spec{12, 12, 3, 1};
  const auto expected = wrapped(spec, counts, 240);
  for (uint32_t world : {1, 2, 3, 4, 6, 12}) {
    std::map<uint64_t, Sample> got;
    for (uint32_t rank = 0; rank < world; ++rank) {
      Bench bench({counts, ".tar.gz"});
      StreamJob job = job_of(spec, 24 / world, StreamEnd::kWrap);
      job.rank = rank;
      job.world = world;
      job.batches_max = 10;
      bench.run(job);
      ASSERT_EQ(bench.sink->sizes.size(), 10u);
      for (size_t k = 0; k < bench.sink->samples.size(); ++k) got[bench.sink->positions[k]] = bench.sink->samples[k];
    }
    ASSERT_EQ(got.size(), 240u);
    for (const auto& [p, sample] : got) ASSERT_EQ(sample, expected[p]) << world << " ranks, position " << p;
  }
}

// Saved on 4 ranks, joined, loaded on 3, 6 and 1.
TEST(StreamEngine, StatesOfAllRanksJoinedResumeOnOtherRankCounts) {
  const std::vector<uint64_t> counts = {9, 4, 11, 6, 2, 13, 8, 5, 7, 10, 3, 12};
  const StreamSpec spec{12, 12, 3, 1};
  const auto expected = wrapped(spec, counts, 300);
  std::map<uint64_t, StreamCut> joined;
  for (uint32_t rank = 0; rank < 4; ++rank) {
    Bench bench({counts, ".tar.gz"});
    StreamJob job = job_of(spec, 6, StreamEnd::kWrap);
    job.rank = rank;
    job.world = 4;
    job.batches_max = 5;
    bench.run(job);
    for (const StreamCut& cut : bench.sink->after.back().streams->cuts) joined[cut.mark.stream] = cut;
    EXPECT_EQ(bench.sink->after.back().at.position, 120u);
  }
  for (uint32_t world : {1, 3, 6}) {
    std::map<uint64_t, Sample> got;
    for (uint32_t rank = 0; rank < world; ++rank) {
      Bench bench({counts, ".tar.gz"});
      StreamJob job = job_of(spec, 18 / world, StreamEnd::kWrap);
      job.rank = rank;
      job.world = world;
      job.position = 120;
      job.batches_max = 10;
      for (uint64_t s = rank; s < 12; s += world) job.cuts.push_back(joined[s]);
      bench.run(job);
      for (size_t k = 0; k < bench.sink->samples.size(); ++k) got[bench.sink->positions[k]] = bench.sink->samples[k];
    }
    ASSERT_EQ(got.size(), 180u);
    for (const auto& [p, sample] : got) ASSERT_EQ(sample, expected[p]) << world << " ranks, position " << p;
  }
}

TEST(StreamEngine, ABadSampleKeepsItsSlotAndOrdinal) {
  Bench good({{4, 4}}), bad({{4, 4}});
  // The same key and extension twice: webdataset raises there.
  const std::string twice = tar_member(TarFields{sample_name(0, 1) + ".x"}, "1");
  bad.set(0, tar_member(TarFields{sample_name(0, 0) + ".x"}, "0") + twice + twice +
                 tar_member(TarFields{sample_name(0, 2) + ".x"}, "2") +
                 tar_member(TarFields{sample_name(0, 3) + ".x"}, "3"));
  good.run(job_of({2, 2, 2, 1}, 3));
  bad.run(job_of({2, 2, 2, 1}, 3));
  EXPECT_EQ(bad.sink->samples, good.sink->samples);
  EXPECT_EQ(bad.sink->bad, (std::vector<uint64_t>{stream_sample_id(0, 1)}));
}

TEST(StreamEngine, DamageNamesTheObjectAndWhere) {
  Bench cut({kCounts, ".tar.gz"});
  std::string stored = gzip_of(tar_member(TarFields{"a.x"}, text_like(9000, 1)), 6);
  cut.set(2, stored.substr(0, stored.size() - 20));
  cut.run(job_of({7, 1, 4, 1}, 5));
  EXPECT_EQ(cut.sink->end_status.code(), Code::kCorrupt);
  const std::string& message = cut.sink->end_status.message();
  EXPECT_NE(message.find("memory:/shard2.tar.gz (gzip, stored byte "), std::string::npos) << message;
  EXPECT_NE(message.find("cut off?"), std::string::npos) << message;
  EXPECT_LT(cut.sink->samples.size(), 52u);

  Bench gone({kCounts});
  gone.memory.erase("shard4.tar");
  gone.run(job_of({7, 1, 4, 1}, 5));
  EXPECT_EQ(gone.sink->end_status.code(), Code::kNotFound) << gone.sink->end_status.message();

  Bench changed({kCounts});
  changed.memory.set("shard4.tar", std::string(4096, 'x'));  // its ETag is not the one that was listed
  changed.run(job_of({7, 1, 4, 1}, 5));
  EXPECT_EQ(changed.sink->end_status.code(), Code::kPrecondition) << changed.sink->end_status.message();
}

TEST(StreamEngine, AResumeOverOtherDataIsRefused) {
  Bench whole({kCounts});
  const StreamSpec spec = whole.spec(1, 5);
  whole.run(job_of(spec, 3));
  StreamJob job = job_of(spec, 3);
  resume_at(job, whole.sink->after[6]);
  Bench other({{7, 0, 12, 3, 20, 1, 9}, ".tar", 900});
  other.run(job);
  EXPECT_EQ(other.sink->end_status.code(), Code::kPrecondition);
  EXPECT_NE(other.sink->end_status.message().find("resume"), std::string::npos) << other.sink->end_status.message();
  // Damaged numbers are refused before anything is read.
  for (int what = 0; what < 5; ++what) {
    StreamJob damaged = job;
    StreamMark& mark = damaged.cuts[0].mark;
    if (what == 0) mark.draws += 100;
    if (what == 1) mark.oldest.ordinal = mark.head.ordinal + 1;
    if (what == 2) mark.oldest.ordinal = 0;
    if (what == 3) mark.stream = 3;
    if (what == 4) damaged.turn = 99;
    Bench bench({kCounts});
    EXPECT_EQ(bench.make(damaged).code(), Code::kPrecondition) << what;
  }
  // One draw more than there was is what a stream whose shards have ended would have.
  job.cuts[0].mark.draws += 1;
  Bench longer({kCounts});
  longer.run(job);
  EXPECT_EQ(longer.sink->end_status.code(), Code::kPrecondition) << longer.sink->end_status.message();
}

TEST(StreamEngine, JobsThatDoNotFitAreRefused) {
  Bench bench({kCounts});
  StreamJob job = job_of({7, 4, 4, 1}, 3);
  job.world = 2;
  EXPECT_NE(bench.make(job).message().find("epoch_size="), std::string::npos);
  job.end = StreamEnd::kWrap;
  job.world = 3;
  EXPECT_EQ(bench.make(job).code(), Code::kInvalidArgument);  // 4 streams over 3 ranks
  job.world = 4;
  job.cuts.resize(3);
  EXPECT_NE(bench.make(job).message().find("gather_state()"), std::string::npos);
}

TEST(StreamEngine, SlotsThatDoNotFitEndWithTheArithmetic) {
  Bench bench({std::vector<uint64_t>(4, 200), ".tar", 4000, 2 << 20});
  bench.run(job_of({4, 4, 200, 1}, 8));
  EXPECT_EQ(bench.sink->end_status.code(), Code::kExhausted);
  const std::string& message = bench.sink->end_status.message();
  EXPECT_NE(message.find("of 800 samples that the slots would hold; raise memory="), std::string::npos) << message;
  // With fewer slots the same memory does.
  Bench fits({std::vector<uint64_t>(4, 200), ".tar", 4000, 2 << 20});
  fits.run(job_of({4, 4, 40, 1}, 8));
  EXPECT_TRUE(fits.sink->end_status.ok()) << fits.sink->end_status.message();
  EXPECT_EQ(fits.sink->samples.size(), 800u);
}

TEST(StreamEngine, EmptyDataEndsWithAnError) {
  for (StreamEnd end : {StreamEnd::kShort, StreamEnd::kWrap}) {
    Bench bench({{0, 0}});
    bench.run(job_of({2, 2, 4, 1}, 3, end));
    EXPECT_EQ(bench.sink->end_status.code(), Code::kCorrupt);
    EXPECT_NE(bench.sink->end_status.message().find("no sample"), std::string::npos);
  }
}

// The index of plain tars as the indexing pass finds it.
TEST(StreamEngine, FindsTheIndexOnTheWay) {
  Bench bench({kCounts});
  bench.run(job_of({7, 3, 4, 1}, 5));
  ASSERT_EQ(bench.indexed.size(), 7u);
  for (const auto& [shard, found] : bench.indexed) {
    EXPECT_EQ(found.samples, kCounts[shard]);
    EXPECT_EQ(found.crcs.size(), kCounts[shard]);
  }
  Bench compressed({kCounts, ".tar.gz"});
  compressed.run(job_of({7, 3, 4, 1}, 5));
  EXPECT_TRUE(compressed.indexed.empty());
}

TEST(StreamEngine, ReadsEachByteOnce) {
  Bench bench({kCounts, ".tar.gz"});
  bench.run(job_of({7, 3, 4, 1}, 5));
  uint64_t bytes = 0;
  for (const ShardEntry& e : bench.entries) bytes += e.size;
  EXPECT_EQ(bench.store->bytes, bytes);
}

// As in a job: decoding on threads, the engine on one of its own.
TEST(StreamEngine, WorkersOnThreadsChangeNothing) {
  for (const char* suffix : {".tar", ".tar.gz", ".tar.zst"}) {
    Bench bench({kCounts, suffix});
    ThreadPool pool(3, "test");
    bench.workers = &pool;
    const StreamSpec spec = bench.spec(3, 4);
    bench.run(job_of(spec, 5));
    EXPECT_TRUE(bench.sink->end_status.ok()) << bench.sink->end_status.message();
    EXPECT_EQ(bench.sink->samples, drained(spec, kCounts, 0)) << suffix;
    bench.stop();
  }
}

TEST(StreamEngine, ClosedMidwayLeavesNothingBehind) {
  Bench bench({kCounts, ".tar.gz"});
  bench.run(job_of({7, 3, 4, 1}, 5), 2);
  EXPECT_GT(bench.budget->used(), 0u);
  bench.stop();
  EXPECT_EQ(bench.budget->used(), 0u);
  EXPECT_EQ(bench.sink->ends, 0);
}

}  // namespace
}  // namespace headrace
