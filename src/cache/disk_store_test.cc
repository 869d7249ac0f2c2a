// SPDX-License-Identifier: Apache-2.0
#include "cache/disk_store.h"

#include <gtest/gtest.h>

#include <fstream>

#include "cache/testing_disk.h"
#include "store/test_loop.h"
#include "sys/failpoint.h"

namespace headrace {
namespace {

constexpr uint64_t kBlock = kDiskBlockBytes;
constexpr uint64_t kFile = kDiskBlockBytes + kDiskHeaderBytes;

// --- what it is for --------------------------------------------------------------------------------------------------

TEST(DiskStore, SecondEpochAsksForNothingAndTheNextProcessNeither) {
  DiskWorld w;
  w.start();
  for (int epoch = 0; epoch < 2; ++epoch) {
    w.read_everything();
    // 10 blocks and a byte, 1 byte, exactly 2 blocks.
    EXPECT_EQ(w.record->bytes_read(), 10 * kBlock + 1u + 1u + 2 * kBlock) << "epoch " << epoch;
  }
  EXPECT_EQ(w.store->bytes_wanted(), 2 * w.record->bytes_read());
  EXPECT_EQ(w.store->bytes_asked(), w.record->bytes_read());
  w.restart();
  w.record->clear();
  w.read_everything();
  EXPECT_EQ(w.record->reads(), 0u);
}

TEST(DiskStore, EachBlockIsFetchedOnceHoweverManyWaitForIt) {
  DiskWorld w;
  w.start();
  std::vector<std::shared_ptr<DiskWorld::Read>> reads;
  for (uint64_t i = 0; i < 20; ++i) reads.push_back(w.begin(0, {i * 1000, i * 1000 + 2 * kBlock}));
  w.executor.run_all();
  for (uint64_t i = 0; i < 20; ++i) w.expect_good(*reads[i], 0, {i * 1000, i * 1000 + 2 * kBlock});
  EXPECT_EQ(w.record->bytes_read(), 3 * kBlock);
  for (const StoreRecord& r : w.record->records()) EXPECT_EQ(r.if_match, w.objects[0].etag);
}

TEST(DiskStore, FewBuffersMakeReadsWaitAndNothingIsAskedTwice) {
  DiskWorld w;
  w.options.buffers_max = 2;
  w.start();
  w.read_everything(100'003);
  EXPECT_EQ(w.record->bytes_read(), 12 * kBlock + 2u);
  EXPECT_EQ(w.folder.files().size(), 14u);
}

TEST(DiskStore, WithoutMemoryReadsGoThrough) {
  DiskWorld w;
  w.budget = Budget::root("memory", 1000);
  w.buffers = std::make_shared<BufferPool>(w.budget, 1000);
  w.start();
  w.read_well(0, {5, kBlock + 5});
  EXPECT_EQ(w.record->bytes_read(), kBlock);
  EXPECT_TRUE(w.folder.files().empty());
  EXPECT_EQ((*w.cache->files().use().totals()).bytes, 0u);
}

TEST(DiskStore, IdleBuffersGoToWhoIsStuck) {
  DiskWorld w;
  w.start();
  const uint64_t held = w.budget->used();
  EXPECT_GE(held, w.options.buffers_max * kBlock / 4);
  w.budget->shortfall(0, 1);
  w.executor.run_all();
  EXPECT_EQ(w.budget->used(), 0u);
  w.read_everything();  // and are taken again
  EXPECT_EQ(w.record->bytes_read(), 12 * kBlock + 2u);
}

TEST(DiskStore, TheWatchSeesWhatComesFromTheDisk) {
  struct Watch final : ReadWatch {
    std::string seen;
    uint64_t next = 0;
    bool in_order = true;
    void on_bytes(uint64_t at, Bytes bytes) override {
      in_order = in_order && at == next;
      next = at + bytes.size();
      seen += as_text(bytes);
    }
  };
  DiskWorld w;
  w.start();
  w.read_everything();
  auto watch = std::make_shared<Watch>();
  watch->next = 100;
  ReadRequest request;
  request.key = w.objects[0].key;
  request.if_match = w.objects[0].etag;
  request.object_size = w.objects[0].size;
  request.range = {100, 2 * kBlock + 100};
  request.watch = watch;
  auto read = w.begin(std::move(request));
  w.executor.run_all();
  w.expect_good(*read, 0, {100, 2 * kBlock + 100});
  EXPECT_TRUE(watch->in_order);
  EXPECT_TRUE(watch->seen == w.contents[0].substr(100, 2 * kBlock));
}

// --- what is not cached ----------------------------------------------------------------------------------------------

TEST(DiskStore, ReadsOfNoParticularVersionOrSizeGoThroughAsAsked) {
  DiskWorld w;
  w.start();
  for (int what = 0; what < 3; ++what) {
    ReadRequest request;
    request.key = w.objects[0].key;
    request.if_match = what == 0 ? "" : w.objects[0].etag;
    request.object_size = what == 1 ? 0 : w.objects[0].size;
    if (what == 2) request.deadline = Deadline::after(w.clock, std::chrono::hours(1));
    request.range = {7, 99};
    auto read = w.begin(std::move(request));
    w.executor.run_all();
    w.expect_good(*read, 0, {7, 99});
  }
  EXPECT_EQ(w.record->bytes_read(), 3 * 92u);
  EXPECT_TRUE(w.folder.files().empty());
}

TEST(DiskStore, ANewVersionIsNotServedFromTheOldOne) {
  DiskWorld w;
  w.start();
  w.read_everything();
  w.contents[2] = random_text(99, w.contents[2].size());
  w.objects[2].etag = w.memory->set(w.objects[2].key, w.contents[2]);
  w.read_everything();
}

TEST(DiskStore, TheSameKeyInAnotherStoreIsAnotherObject) {
  DiskWorld w;
  w.start();
  w.read_everything();
  w.options.place = "https://store.example/bucket2";
  w.restart();
  w.record->clear();
  w.read_everything();
  EXPECT_EQ(w.record->bytes_read(), 12 * kBlock + 2u);
}

TEST(DiskStore, AFullCacheServesItsFractionAndLetsTheRestThroughAsAsked) {
  DiskWorld w({20 * kBlock});
  w.limits.bytes_max = 5 * kFile;
  w.start();
  w.read_everything(kBlock);
  EXPECT_EQ(w.folder.bytes(), 5 * kFile);
  w.record->clear();
  for (int epoch = 0; epoch < 3; ++epoch) w.read_everything(kBlock);
  EXPECT_EQ(w.record->bytes_read(), 3 * 15 * kBlock);
  EXPECT_EQ(w.cache->metrics().evictions.value(), 0u);
  w.record->clear();
  // What has no place is not read in whole blocks.
  for (uint64_t block = 0; block < 20; ++block) w.read_well(0, {block * kBlock + 10, block * kBlock + 20});
  EXPECT_EQ(w.record->bytes_read(), 15 * 10u);
}

TEST(DiskStore, UnknownTrafficMakesRoomOldestFirst) {
  DiskWorld w({20 * kBlock});
  w.limits.bytes_max = 5 * kFile;
  w.options.planned = false;
  w.start();
  for (uint64_t block = 0; block < 20; ++block) {
    w.read_well(0, {block * kBlock, block * kBlock + 1});
    w.clock.advance(std::chrono::seconds(1));
    EXPECT_LE(w.folder.bytes(), 5 * kFile);
  }
  EXPECT_EQ(w.cache->metrics().evictions.value(), 15u);
  w.record->clear();
  for (uint64_t block = 15; block < 20; ++block) w.read_well(0, {block * kBlock, block * kBlock + 1});
  EXPECT_EQ(w.record->reads(), 0u);
}

TEST(DiskStore, AnotherJobTakesThePlaceOfOneThatEndedNotOfOneThatRuns) {
  DiskWorld first({6 * kBlock});
  first.limits.bytes_max = 5 * kFile;
  first.start();
  first.read_everything(kBlock);
  // The same folder, another data set, through open files of its own: as in another process.
  DiskWorld second({6 * kBlock});
  second.options.place = "https://store.example/other";
  second.limits = first.limits;
  auto opened = DiskCache::open({first.folder.path(), first.limits}, second.clock);
  ASSERT_TRUE(opened.ok());
  second.cache = *opened;
  second.cache->scan();
  second.store = std::make_shared<DiskStore>(second.record, second.cache, second.executor, second.buffers,
                                             second.budget, second.options);
  second.store->claim(second.objects);
  second.read_everything(kBlock);
  EXPECT_EQ(second.cache->metrics().evictions.value(), 0u);
  EXPECT_EQ(second.cache->metrics().writes.value(), 0u);
  first.stop();
  second.read_everything(kBlock);
  EXPECT_EQ(second.cache->metrics().evictions.value(), 5u);
  EXPECT_EQ(second.cache->metrics().writes.value(), 5u);
}

// Belady end to end: with room for one block, the plan says which of two is worth it.
TEST(DiskStore, WithAPlanTheBlockNeededLatestGoes) {
  DiskWorld w({2 * kBlock});
  w.limits.bytes_max = kFile;
  w.start();
  const DiskObject object{w.options.place, w.objects[0].key, w.objects[0].etag, "", w.objects[0].size};
  FutureUses::Builder builder;
  for (uint32_t time : {0u, 5u}) builder.add(object.hash(), 0, time);
  for (uint32_t time : {1u, 2u, 3u}) builder.add(object.hash(), 1, time);
  w.store->set_uses(std::make_shared<FutureUses>(std::move(builder).finish()));
  const auto read_at = [&](uint32_t due, uint64_t block) {
    ReadRequest request;
    request.key = w.objects[0].key;
    request.if_match = w.objects[0].etag;
    request.object_size = w.objects[0].size;
    request.range = {block * kBlock, block * kBlock + 1};
    request.due = due;
    const uint64_t before = w.record->reads();
    auto read = w.begin(std::move(request));
    w.executor.run_all();
    w.expect_good(*read, 0, {block * kBlock, block * kBlock + 1});
    return w.record->reads() - before;
  };
  EXPECT_EQ(read_at(0, 0), 1u);
  EXPECT_EQ(read_at(1, 1), 1u);  // needed again at 2, block 0 at 5: takes its place
  EXPECT_EQ(read_at(2, 1), 0u);
  EXPECT_EQ(read_at(3, 1), 0u);
  EXPECT_EQ(read_at(5, 0), 1u);
  EXPECT_EQ(w.cache->metrics().evictions.value(), 1u);
}

// --- what goes wrong -------------------------------------------------------------------------------------------------

TEST(DiskStore, WhatAReaderFoundWrongIsFetchedAnew) {
  DiskWorld w;
  w.start();
  w.read_everything();
  w.record->clear();
  auto read = w.begin(0, {10, kBlock + 10}, {}, true);
  w.executor.run_all();
  w.expect_good(*read, 0, {10, kBlock + 10});
  EXPECT_EQ(w.record->bytes_read(), kBlock);  // as asked
  EXPECT_EQ(w.folder.files().size(), 12u);    // of 14
  w.read_well(0, {10, kBlock + 10});
  EXPECT_EQ(w.record->bytes_read(), 3 * kBlock);
  EXPECT_EQ(w.folder.files().size(), 14u);
}

TEST(DiskStore, DamagedFilesAreFetchedAgainAndCounted) {
  DiskWorld w;
  w.start();
  w.read_everything();
  const auto files = w.folder.files();
  std::filesystem::resize_file(files[0], std::filesystem::file_size(files[0]) - 1);
  std::filesystem::resize_file(files[1], 100);
  std::filesystem::remove(files[2]);
  std::filesystem::copy(files[3], files[2]);
  std::filesystem::remove(files[4]);
  w.read_everything();
  EXPECT_EQ(w.cache->metrics().corrupt.value(), 3u);
  w.record->clear();
  w.read_everything();
  EXPECT_EQ(w.record->reads(), 0u);
}

// As a mount does that is read at once: the folder is still being counted, by this process or another.
TEST(DiskStore, ADamagedBlockIsFetchedOnceForAllItsReadersAlsoDuringACount) {
  DiskWorld w;
  w.start();
  w.read_everything();
  std::filesystem::resize_file(w.folder.files()[0], 5000);
  w.record->clear();
  const auto counting = *w.cache->files().use().begin_recount();
  ASSERT_TRUE(counting);
  w.read_everything(kBlock / 8);
  EXPECT_EQ(w.record->reads(), 1u);
  EXPECT_EQ(w.cache->metrics().corrupt.value(), 1u);
  EXPECT_EQ(w.folder.files().size(), 14u);
}

TEST(DiskStore, AFailingStoreIsReportedInTheReadersOwnWords) {
  DiskWorld w;
  w.start();
  w.memory->erase(w.objects[0].key);
  auto gone = w.begin(0, {10, kBlock + 10});
  auto changed = w.begin(2, {0, 10});
  w.memory->set(w.objects[2].key, "something else");
  w.executor.run_all();
  ASSERT_EQ(gone->outcomes.size(), 1u);
  EXPECT_EQ(gone->outcomes[0].status.code(), Code::kNotFound);
  EXPECT_NE(gone->outcomes[0].status.message().find("[10, 524298)"), std::string::npos);
  EXPECT_EQ(changed->outcomes[0].status.code(), Code::kPrecondition);
  EXPECT_TRUE(w.folder.files().empty());
  EXPECT_EQ((*w.cache->files().use().totals()).files, 0u);
}

TEST(DiskStore, AStoppedReadIsAnsweredAtOnceAndTheFetchServesOthers) {
  DiskWorld w;
  w.start();
  std::stop_source stop;
  auto stopped = w.begin(0, {0, 10}, stop.get_token());
  auto other = w.begin(0, {20, 30});
  w.executor.run_ready();  // the fetch is under way: the network takes time, and time stands still
  ASSERT_TRUE(stopped->outcomes.empty());
  stop.request_stop();
  w.executor.run_ready();
  ASSERT_EQ(stopped->outcomes.size(), 1u);
  EXPECT_EQ(stopped->outcomes[0].status.code(), Code::kCancelled);
  w.executor.run_all();
  w.expect_good(*other, 0, {20, 30});
  EXPECT_EQ(w.record->bytes_read(), kBlock);
}

TEST(DiskStore, ClosingCancelsFetchesAndGivesRoomAndMemoryBack) {
  DiskWorld w;
  w.options.buffers_max = 2;
  w.start();
  std::vector<std::shared_ptr<DiskWorld::Read>> reads;
  for (uint64_t i = 0; i < 8; ++i) reads.push_back(w.begin(0, {i * kBlock, i * kBlock + 10}));
  w.executor.run_ready();
  const std::shared_ptr<DiskCache> cache = w.cache;
  w.stop();
  for (const auto& read : reads) EXPECT_EQ(read->outcomes.size(), 1u);
  EXPECT_EQ(w.budget->used(), 0u);
  EXPECT_EQ((*cache->files().use().totals()).bytes, w.folder.bytes());
}

// A full or dying disk costs the cache, and nothing else; it is asked again after a while.
TEST(DiskStore, AFailingDiskIsLeftAloneAndTriedAgain) {
  for (const char* point : {"disk.reserve", "disk.create", "disk.write", "disk.written", "disk.rename"}) {
    DiskWorld w({40 * kBlock});
    w.start();
    failpoint_arm(point, exhausted("No space left on device"), 0, 1'000'000);
    w.read_well(0, {0, 1});
    EXPECT_FALSE(w.cache->health().well(DiskHealth::Way::kWrite)) << point;
    w.record->clear();
    w.read_well(0, {kBlock, kBlock + 1});
    EXPECT_EQ(w.record->bytes_read(), 1u) << "not in blocks that cannot be kept: " << point;
    failpoints_clear();
    w.read_well(0, {kBlock, kBlock + 1});
    EXPECT_EQ(w.record->bytes_read(), 2u) << "too early to try again: " << point;
    w.clock.advance(DiskHealth::kPauseMin);
    w.read_well(0, {kBlock, kBlock + 1});
    w.read_well(0, {2 * kBlock, 2 * kBlock + 1});
    EXPECT_TRUE(w.cache->health().well(DiskHealth::Way::kWrite)) << point;
    EXPECT_EQ(w.folder.files().size(), 2u) << point;
    EXPECT_EQ((*w.cache->files().use().totals()).bytes, w.folder.bytes()) << point;
  }
}

TEST(DiskStore, ADiskThatCannotBeReadIsLeftAloneAndTriedAgain) {
  DiskWorld w;
  w.start();
  w.read_everything();
  w.record->clear();
  failpoint_arm("disk.read", unavailable("Input/output error"));
  w.read_well(0, {0, 10});
  w.read_well(0, {kBlock, kBlock + 10});
  EXPECT_EQ(w.cache->metrics().errors.value(), 1u);
  EXPECT_EQ(w.cache->metrics().bypassed.value(), 1u);
  EXPECT_GT(w.record->reads(), 0u);
  failpoints_clear();
  w.clock.advance(DiskHealth::kPauseMin);
  w.record->clear();
  w.read_well(0, {0, 10});  // the one that tries
  w.read_everything();
  EXPECT_EQ(w.record->reads(), 0u);
}

// Disk work that never comes back: nobody waits for it longer than slow_after.
TEST(DiskStore, AHangingDiskIsNotWaitedFor) {
  DiskWorld w;
  ManualClock disk_clock;
  ManualExecutor disk(disk_clock);
  w.io = &disk;
  w.start();
  auto read = w.begin(0, {0, 10});
  w.executor.run_all();
  w.expect_good(*read, 0, {0, 10});
  EXPECT_EQ(w.clock.now().time_since_epoch() >= w.options.slow_after, true);
  EXPECT_EQ(w.cache->metrics().slow.value(), 1u);
  const TimePoint before = w.clock.now();
  auto second = w.begin(0, {0, 10});
  while (second->outcomes.empty() && w.executor.run_all(1) > 0) {
  }
  EXPECT_LT(w.clock.now() - before, w.options.slow_after);
  EXPECT_EQ(w.cache->metrics().bypassed.value(), 1u);
  // It comes back: what it does now touches nobody's memory.
  std::ranges::fill(read->bytes, '!');
  disk.run_all();
  w.executor.run_all();
  EXPECT_EQ(read->bytes, "!!!!!!!!!!");
}

}  // namespace
}  // namespace headrace
