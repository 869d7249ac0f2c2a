// SPDX-License-Identifier: Apache-2.0
#include "cache/keep_store.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "cache/testing_disk.h"
#include "store/fault_store.h"
#include "store/memory_store.h"
#include "store/record_store.h"
#include "store/store_conformance.h"
#include "store/test_loop.h"
#include "store/throttle_store.h"
#include "sys/buffer_pool.h"
#include "sys/random.h"

namespace headrace {
namespace {

using std::chrono::milliseconds;

constexpr uint64_t kRange = 1000;  // of a load

std::string content_of(size_t object, size_t size) {
  std::mt19937_64 bits(object + 1);
  std::string content(size, '\0');
  for (char& c : content) c = static_cast<char>(bits());
  return content;
}

// memory <- faults <- network weather <- record <- keep, on a clock that stands still until the test runs it.
struct World {
  ManualClock clock;
  ManualExecutor executor{clock};
  std::shared_ptr<MemoryStore> memory = std::make_shared<MemoryStore>(executor, "memory:");
  std::shared_ptr<FaultStore> faults = std::make_shared<FaultStore>(memory, std::make_unique<SeededRandom>(1));
  std::shared_ptr<RecordStore> record = std::make_shared<RecordStore>(
      std::make_shared<ThrottleStore>(faults, ThrottleProfile{}, std::make_unique<SeededRandom>(2)));
  std::shared_ptr<Budget> budget;
  std::shared_ptr<BufferPool> buffers;
  std::vector<std::string> contents;
  std::vector<ObjectMeta> objects;
  std::shared_ptr<KeepStore> keep;

  explicit World(std::vector<size_t> sizes = {10'500, 999, 1000, 4001}, uint64_t memory_max = 1 << 20)
      : budget(Budget::root("memory", memory_max)), buffers(std::make_shared<BufferPool>(budget, memory_max)) {
    for (size_t i = 0; i < sizes.size(); ++i) {
      contents.push_back(content_of(i, sizes[i]));
      ObjectMeta meta;
      meta.key = "k" + std::to_string(i);
      meta.size = sizes[i];
      meta.etag = memory->set(meta.key, contents[i]);
      objects.push_back(meta);
    }
  }
  ~World() {
    keep.reset();
    executor.run_all();
    EXPECT_EQ(budget->used(), 0u);
  }
  void start(KeepOptions options = {.range_bytes = kRange}) {
    keep = KeepStore::make(record, buffers, budget, objects, options);
    ASSERT_NE(keep, nullptr);
  }

  // One read and what became of it.
  struct Read {
    std::string bytes;
    std::vector<ReadOutcome> outcomes;
    const ReadOutcome& outcome() const {
      EXPECT_EQ(outcomes.size(), 1u);
      return outcomes.at(0);
    }
  };
  std::shared_ptr<Read> begin(size_t object, ByteRange range, std::stop_token stop = {}, bool fresh = false) {
    ReadRequest request;
    request.key = objects[object].key;
    request.if_match = objects[object].etag;
    request.range = range;
    request.fresh = fresh;
    return begin(std::move(request), std::move(stop));
  }
  std::shared_ptr<Read> begin(ReadRequest request, std::stop_token stop = {}) {
    auto read = std::make_shared<Read>();
    read->bytes.assign(request.range.size(), '?');
    const size_t half = read->bytes.size() / 2;
    const auto dst = std::as_writable_bytes(std::span(read->bytes));
    if (half > 0) request.dst.push_back(dst.first(half));
    request.dst.push_back(dst.subspan(half));
    keep->read(std::move(request), [read](ReadOutcome outcome) { read->outcomes.push_back(std::move(outcome)); },
               std::move(stop));
    EXPECT_TRUE(read->outcomes.empty()) << "a completion ran inside the call";
    return read;
  }
  void expect_good(const Read& read, size_t object, ByteRange range) {
    ASSERT_TRUE(read.outcome().status.ok()) << read.outcome().status.message();
    EXPECT_EQ(read.outcome().bytes, range.size());
    EXPECT_EQ(read.outcome().etag, objects[object].etag);
    EXPECT_EQ(read.outcome().object_size, objects[object].size);
    EXPECT_EQ(read.bytes, contents[object].substr(range.begin, range.size()));
  }
  // Reads it and lets time pass until all is quiet.
  void read_well(size_t object, ByteRange range) {
    auto read = begin(object, range);
    executor.run_all();
    expect_good(*read, object, range);
  }
};

TEST(KeepStore, AsksForEachByteOnceInThreeEpochsOfRandomReads) {
  World w;
  w.start();
  std::mt19937_64 random(5);
  for (int epoch = 0; epoch < 3; ++epoch) {
    std::vector<std::tuple<size_t, ByteRange, std::shared_ptr<World::Read>>> reads;
    for (int i = 0; i < 400; ++i) {
      const size_t object = random() % w.objects.size();
      const uint64_t begin = random() % w.objects[object].size;
      const uint64_t end = begin + 1 + random() % std::min<uint64_t>(2500, w.objects[object].size - begin);
      reads.emplace_back(object, ByteRange{begin, end}, w.begin(object, {begin, end}));
      if (i % 7 == 0) w.executor.run_ready();
    }
    w.executor.run_all();
    for (const auto& [object, range, read] : reads) w.expect_good(*read, object, range);
  }
  // 10,500 = 11 ranges of at most 1000, 999 and 1000 = 1 each, 4001 = 5.
  EXPECT_EQ(w.record->reads(), 18u);
  EXPECT_EQ(w.record->bytes_read(), 10'500u + 999 + 1000 + 4001);
  EXPECT_EQ(w.keep->bytes_asked(), 16'500u);
  std::map<std::string, std::vector<bool>> seen;
  for (const StoreRecord& r : w.record->records()) {
    auto& bytes = seen.try_emplace(r.key, 10'500).first->second;
    EXPECT_FALSE(r.if_match.empty());
    for (uint64_t at = r.range.begin; at < r.range.end; ++at) {
      EXPECT_FALSE(bytes[at]);
      bytes[at] = true;
    }
  }
}

TEST(KeepStore, LoadsTheWholeObjectAfterItsFirstReadAndNoOther) {
  World w;
  w.start();
  w.read_well(0, {5500, 5501});
  EXPECT_EQ(w.record->bytes_read(), 10'500u);
  w.record->clear();
  w.read_well(0, {0, 10'500});
  EXPECT_EQ(w.record->reads(), 0u);
}

TEST(KeepStore, ServesWhatIsThereWithoutWaitingForTheRest) {
  World w;
  w.start({.range_bytes = kRange, .loads_max = 1});
  StoreFault hang;
  hang.kind = StoreFault::Kind::kHang;
  hang.skip = 1;
  w.faults->add(hang);
  w.read_well(0, {7100, 7200});
  EXPECT_EQ(w.record->in_flight(), 1u);  // the rest of the object, without an end
  const TimePoint before = w.clock.now();
  w.read_well(0, {7000, 8000});
  EXPECT_EQ(w.clock.now(), before);
}

TEST(KeepStore, LoadsWhatIsWaitedForBeforeTheRest) {
  World w;
  w.start({.range_bytes = kRange, .loads_max = 1});
  auto first = w.begin(0, {0, 10});
  auto second = w.begin(0, {10'200, 10'300});
  auto third = w.begin(3, {4000, 4001});
  w.executor.run_all();
  const std::vector<StoreRecord> records = w.record->records();
  ASSERT_EQ(records.size(), 16u);
  EXPECT_EQ(records[0].range, (ByteRange{0, 1000}));
  EXPECT_EQ(records[1].range, (ByteRange{10'000, 10'500}));
  EXPECT_EQ(records[2].range, (ByteRange{4000, 4001}));
  EXPECT_EQ(records[3].range, (ByteRange{1000, 2000}));
  w.expect_good(*first, 0, {0, 10});
  w.expect_good(*second, 0, {10'200, 10'300});
  w.expect_good(*third, 3, {4000, 4001});
}

TEST(KeepStore, HasNoMoreLoadsUnderWayThanItMay) {
  World w;
  w.start({.range_bytes = kRange, .loads_max = 3});
  for (size_t object = 0; object < 4; ++object) w.begin(object, {0, w.objects[object].size});
  w.executor.run_all();
  EXPECT_EQ(w.record->in_flight_peak(), 3u);
  EXPECT_EQ(w.record->reads(), 18u);
}

TEST(KeepStore, AnswersAllWaitingReadersOnce) {
  World w;
  w.start();
  std::vector<std::shared_ptr<World::Read>> reads;
  for (int i = 0; i < 50; ++i) reads.push_back(w.begin(0, {900, 2100}));  // three ranges
  w.executor.run_all();
  for (const auto& read : reads) w.expect_good(*read, 0, {900, 2100});
  EXPECT_EQ(w.record->reads(), 11u);
}

TEST(KeepStore, AReadThatIsStoppedWhileItWaitsIsAnsweredAtOnce) {
  World w;
  w.start();
  std::stop_source stop;
  auto stopped = w.begin(0, {0, 10}, stop.get_token());
  auto other = w.begin(0, {0, 10});
  w.executor.run_ready();
  EXPECT_TRUE(stopped->outcomes.empty());
  const TimePoint before = w.clock.now();
  stop.request_stop();
  w.executor.run_ready();
  EXPECT_EQ(w.clock.now(), before);
  EXPECT_EQ(stopped->outcome().status.code(), Code::kCancelled);
  EXPECT_EQ(stopped->outcome().status.message(), "read memory:/k0 bytes [0, 10): stopped");
  w.executor.run_all();
  EXPECT_EQ(stopped->bytes, "??????????");
  EXPECT_EQ(stopped->outcomes.size(), 1u);
  w.expect_good(*other, 0, {0, 10});
  auto late = w.begin(0, {0, 10}, stop.get_token());
  w.executor.run_all();
  EXPECT_EQ(late->outcome().status.code(), Code::kCancelled);
}

TEST(KeepStore, ReadsOfAnotherVersionGoThrough) {
  World w;
  w.start();
  w.read_well(0, {0, 10});
  ReadRequest request;
  request.key = "k0";
  request.range = {0, 10};
  request.if_match = "another";
  auto other = w.begin(std::move(request));
  w.executor.run_all();
  EXPECT_EQ(other->outcome().status.code(), Code::kPrecondition);
  ReadRequest versioned;
  versioned.key = "k0";
  versioned.range = {0, 10};
  versioned.if_match = w.objects[0].etag;
  versioned.version_id = "v7";
  auto version = w.begin(std::move(versioned));
  w.executor.run_all();
  EXPECT_EQ(version->outcome().status.code(), Code::kNotFound);  // MemoryStore keeps no versions
  auto behind = w.begin(0, {10'400, 10'501});
  w.executor.run_all();
  EXPECT_EQ(behind->outcome().status.code(), Code::kPrecondition);
}

TEST(KeepStore, ReadsWithADeadlineDoNotWaitForLoads) {
  World w;
  w.start();
  ReadRequest request;
  request.key = "k0";
  request.range = {0, 10};
  request.if_match = w.objects[0].etag;
  request.deadline = Deadline::after(w.clock, milliseconds(5000));
  auto read = w.begin(request);
  w.executor.run_all();
  w.expect_good(*read, 0, {0, 10});
  EXPECT_EQ(w.record->bytes_read(), 10u);
}

TEST(KeepStore, ObjectsThatAreNotListedGoThrough) {
  World w;
  w.start();
  w.memory->set("other", "0123456789");
  ReadRequest request;
  request.key = "other";
  request.range = {2, 5};
  for (int i = 0; i < 2; ++i) {
    auto read = w.begin(request);
    w.executor.run_all();
    EXPECT_EQ(read->bytes, "234");
  }
  EXPECT_EQ(w.record->reads(), 2u);
  EXPECT_EQ(w.record->bytes_read(), 6u);
}

TEST(KeepStore, KeepsNothingWhenNotAllFits) {
  World w({10'500, 999, 1000, 4001}, 16'000);
  EXPECT_EQ(KeepStore::make(w.record, w.buffers, w.budget, w.objects, {.range_bytes = kRange}), nullptr);
  EXPECT_EQ(w.budget->used(), 0u);
  w.objects.resize(1);  // 10,500 bytes in classes of at most 25 % more
  w.start();
  EXPECT_GE(w.budget->used(), 10'500u);
  EXPECT_EQ(w.keep->bytes_held(), w.budget->used());
}

TEST(KeepStore, GivesMemoryBackToAClaimantThatIsStuck) {
  World w;
  w.start();
  for (size_t object = 0; object < 4; ++object) w.read_well(object, {0, 1});
  const uint64_t before = w.budget->used();
  w.record->clear();
  w.budget->shortfall(0, 4500);  // k3 has 4001 bytes, k2 1000
  w.executor.run_all();
  EXPECT_LE(w.budget->used(), before - 4500);
  EXPECT_GE(w.budget->used(), 10'500u + 999);
  EXPECT_EQ(w.keep->bytes_held(), w.budget->used());
  w.read_well(0, {0, 10'500});
  w.read_well(1, {0, 999});
  EXPECT_EQ(w.record->reads(), 0u);
  for (int i = 0; i < 2; ++i) w.read_well(3, {100, 110});  // not kept again
  EXPECT_EQ(w.record->reads(), 2u);
  EXPECT_EQ(w.record->bytes_read(), 20u);
}

TEST(KeepStore, DroppedWhileItLoadsItsReadersAreStillAnswered) {
  World w;
  w.start({.range_bytes = kRange, .loads_max = 2});
  auto asked = w.begin(0, {0, 10});
  auto across = w.begin(0, {1900, 2100});  // of two ranges, one of them not yet asked for
  auto queued = w.begin(0, {9000, 9010});
  w.executor.run_ready();
  w.budget->shortfall(0, 1 << 20);
  w.executor.run_all();
  w.expect_good(*asked, 0, {0, 10});
  w.expect_good(*across, 0, {1900, 2100});
  w.expect_good(*queued, 0, {9000, 9010});
  EXPECT_EQ(w.budget->used(), 0u);
  EXPECT_EQ(w.keep->bytes_held(), 0u);
}

TEST(KeepStore, AFailedLoadLetsTheReadAskForItself) {
  World w;
  w.start({.range_bytes = kRange, .loads_max = 1});
  StoreFault once;
  once.times = 1;
  w.faults->add(once);
  w.read_well(0, {0, 10});  // the load failed, the read went through
  EXPECT_EQ(w.record->bytes_read(), 10u);
  w.read_well(0, {500, 510});  // loaded after all
  w.record->clear();
  w.read_well(0, {0, 1000});
  EXPECT_EQ(w.record->reads(), 0u);
}

TEST(KeepStore, TheReadGetsTheErrorAndALaterReadWorks) {
  World w;
  w.start({.range_bytes = kRange, .loads_max = 1});
  StoreFault twice;
  twice.times = 2;
  twice.status = unavailable("no such luck");
  w.faults->add(twice);
  auto read = w.begin(0, {0, 10});
  w.executor.run_all();
  EXPECT_EQ(read->outcome().status.code(), Code::kUnavailable);
  EXPECT_NE(read->outcome().status.message().find("no such luck"), std::string::npos);
  w.read_well(0, {0, 10});
}

TEST(KeepStore, AnObjectWhoseLoadsFailIsKeptNoMore) {
  World w;
  w.start({.range_bytes = kRange, .loads_max = 1, .failures_max = 3});
  StoreFault fault;
  fault.times = 6;  // three loads, three reads that went through
  w.faults->add(fault);
  for (int i = 0; i < 3; ++i) {
    auto read = w.begin(0, {0, 10});
    w.executor.run_all();
    EXPECT_EQ(read->outcome().status.code(), Code::kUnavailable);
  }
  EXPECT_LT(w.keep->bytes_held(), 10'500u);  // the other objects' 6000
  w.record->clear();
  w.read_well(0, {0, 10});
  EXPECT_EQ(w.record->bytes_read(), 10u);
}

TEST(KeepStore, ALoadThatCannotBeRepeatedIsNotTriedAgain) {
  World w;
  w.start({.range_bytes = kRange, .loads_max = 1});
  w.memory->set("k0", "changed");
  auto read = w.begin(0, {0, 5});
  w.executor.run_all();
  EXPECT_EQ(read->outcome().status.code(), Code::kPrecondition);
  w.record->clear();
  auto again = w.begin(0, {0, 5});
  w.executor.run_all();
  EXPECT_EQ(again->outcome().status.code(), Code::kPrecondition);
  EXPECT_EQ(w.record->reads(), 1u);
}

TEST(KeepStore, DoesNotMixTwoVersionsOfAnUnpinnedObject) {
  World w;
  w.objects[0].etag.clear();
  w.start({.range_bytes = kRange, .loads_max = 1});
  auto first = w.begin(0, {0, 10});
  while (first->outcomes.empty()) ASSERT_GT(w.executor.run_all(1), 0u);
  EXPECT_EQ(first->bytes, w.contents[0].substr(0, 10));
  EXPECT_FALSE(first->outcome().etag.empty());
  const std::string newer = content_of(77, 10'500);
  const std::string etag = w.memory->set("k0", newer);
  w.executor.run_all();
  auto second = w.begin(0, {0, 2000});
  w.executor.run_all();
  EXPECT_EQ(second->bytes, newer.substr(0, 2000));
  EXPECT_EQ(second->outcome().etag, etag);
}

TEST(KeepStore, AFreshReadGoesThroughAndHasTheRangeLoadedAnew) {
  World w;
  w.start();
  StoreFault flip;
  flip.kind = StoreFault::Kind::kFlipBit;
  flip.bytes = 3;
  flip.times = 1;
  w.faults->add(flip);
  auto bad = w.begin(1, {0, 999});
  w.executor.run_all();
  EXPECT_NE(bad->bytes, w.contents[1]);
  w.record->clear();
  auto fresh = w.begin(1, {0, 10}, {}, true);
  w.executor.run_all();
  w.expect_good(*fresh, 1, {0, 10});
  EXPECT_EQ(w.record->bytes_read(), 10u);
  w.read_well(1, {0, 999});
  EXPECT_EQ(w.record->bytes_read(), 10u + 999);
  w.read_well(1, {0, 999});
  EXPECT_EQ(w.record->bytes_read(), 10u + 999);
}

TEST(KeepStore, CompletionsOutliveIt) {
  World w;
  w.start({.range_bytes = kRange, .loads_max = 2});
  auto asked = w.begin(0, {0, 10});
  auto queued = w.begin(0, {5000, 5010});
  w.executor.run_ready();
  auto posted = w.begin(1, {0, 10});
  w.keep.reset();
  w.executor.run_all();
  w.expect_good(*asked, 0, {0, 10});  // `inner` lives on: it answers
  w.expect_good(*queued, 0, {5000, 5010});
  w.expect_good(*posted, 1, {0, 10});
  EXPECT_EQ(w.budget->used(), 0u);
}

TEST(KeepStore, ReadsAreCancelledWhenTheStoreBelowIsGone) {
  World w;
  w.start();
  auto waiting = w.begin(0, {0, 10});
  w.executor.run_ready();
  w.keep.reset();
  w.record.reset();
  w.executor.run_all();
  EXPECT_EQ(waiting->outcome().status.code(), Code::kCancelled);
  EXPECT_NE(waiting->outcome().status.message().find("memory:/k0 bytes [0, 10)"), std::string::npos);
  EXPECT_EQ(w.budget->used(), 0u);
}

// On real threads: readers, a claimant of memory and close() at once; for the thread sanitizer above all.
TEST(KeepStore, CloseLeavesNothingBehindWhileReadersAreAtWork) {
  for (int round = 0; round < 20; ++round) {
    TestLoop loop;
    auto memory = std::make_shared<MemoryStore>(loop);
    auto budget = Budget::root("memory", 1 << 20);
    auto buffers = std::make_shared<BufferPool>(budget, 1 << 20);
    const std::string content = content_of(0, 50'000);
    std::vector<ObjectMeta> objects(1);
    objects[0].key = "k";
    objects[0].size = content.size();
    objects[0].etag = memory->set("k", content);
    auto keep = KeepStore::make(memory, buffers, budget, objects, {.range_bytes = kRange, .loads_max = 4});
    std::atomic<int> answered{0}, wrong{0};
    std::vector<std::string> sinks(200, std::string(700, '?'));
    std::vector<std::jthread> threads;
    for (int t = 0; t < 2; ++t) {
      threads.emplace_back([&, t] {
        for (int i = t; i < 200; i += 2) {
          ReadRequest request;
          request.key = "k";
          request.if_match = objects[0].etag;
          request.range.begin = static_cast<uint64_t>(i) * 240;
          request.range.end = request.range.begin + 700;
          request.dst = {std::as_writable_bytes(std::span(sinks[static_cast<size_t>(i)]))};
          const std::string expected = content.substr(request.range.begin, 700);
          keep->read(std::move(request), [&, i, expected](ReadOutcome outcome) {
            if (!outcome.status.ok() || sinks[static_cast<size_t>(i)] != expected) ++wrong;
            ++answered;
          }, {});
        }
      });
    }
    if (round % 2 == 0) budget->shortfall(0, 20'000);
    if (round % 3 == 0) threads.clear();
    keep->close();
    EXPECT_EQ(budget->used(), 0u);
    threads.clear();
    while (answered < 200) std::this_thread::yield();
    EXPECT_EQ(wrong, 0);
  }
}

class KeptByHand : public StoreUnderTest {
 public:
  ObjectStore& store() override { return *world_.keep; }
  void wait_until(const std::function<bool()>& done) override {
    ASSERT_FALSE(done()) << "a completion ran inside the call";
    world_.executor.run_all();
    ASSERT_TRUE(done());
  }
  KeptByHand() : world_(std::vector<size_t>{}) {
    // Objects of the suite, unpinned as its reads are.
    for (const auto& [key, size] : {std::pair("dir/object", 36), {"object", 11}}) {
      ObjectMeta meta;
      meta.key = key;
      meta.size = static_cast<uint64_t>(size);
      world_.objects.push_back(meta);
    }
    world_.start({.range_bytes = 5});
  }

 private:
  World world_;
};

INSTANTIATE_TEST_SUITE_P(Keep, StoreConformance,
                         testing::Values(StoreFactory{"keep", [] { return std::make_unique<KeptByHand>(); }}),
                         [](const auto& test) { return test.param.name; });

// The same contract for the disk cache.

class CachedByHand : public StoreUnderTest {
 public:
  CachedByHand() { world_.start(); }
  ObjectStore& store() override { return *world_.store; }
  void wait_until(const std::function<bool()>& done) override {
    ASSERT_FALSE(done()) << "a completion ran inside the call";
    world_.executor.run_all();
    ASSERT_TRUE(done());
  }

 private:
  DiskWorld world_{{}};
};

INSTANTIATE_TEST_SUITE_P(Disk, StoreConformance,
                         testing::Values(StoreFactory{"disk", [] { return std::make_unique<CachedByHand>(); }}),
                         [](const auto& tested) { return tested.param.name; });

}  // namespace
}  // namespace headrace
