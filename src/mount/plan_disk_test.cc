// SPDX-License-Identifier: Apache-2.0
//
// Plans over a mount with a disk cache: what is named to come again stays on the disk. One file at a time, so that what
// Belady's rule keeps can be counted on paper.
#include <gtest/gtest.h>

#include <numeric>
#include <random>

#include "cache/testing_disk.h"
#include "mount/plan.h"
#include "store/test_loop.h"

namespace headrace::mount {
namespace {

constexpr int kFiles = 40;
constexpr uint64_t kFileBytes = 1000;
// Room for half of them.
constexpr uint64_t kCacheBytes = kFiles / 2 * (kDiskHeaderBytes + kFileBytes);

std::string name_of(int i) { return "d/f" + std::to_string(i); }

struct DiskedPlan {
  explicit DiskedPlan(PlanOptions options = {}, Nanos ttl = std::chrono::hours(1)) {
    for (int i = 0; i < kFiles; ++i) memory->set(name_of(i), std::string(kFileBytes, static_cast<char>('a' + i % 26)));
    const DiskLimits limits{.bytes_max = kCacheBytes, .files_max = 0, .free_share = 0};
    cache = *DiskCache::open({folder.path(), limits}, loop.clock());
    disk = std::make_shared<DiskStore>(memory, cache, io, buffers, budget, DiskStoreOptions{.place = "memory:"});
    MountOptions in;
    in.catalog.ttl = ttl;
    in.read.used_bytes_max = 0;  // the memory keeps nothing: what is read again comes from the disk or the store
    mount = std::make_unique<Mount>(disk, nullptr, buffers, budget, background, std::move(in));
    options.bytes_ahead_max = 1;  // one file ahead
    options.disk = disk;
    options.future_bytes_max = 1 << 20;
    plan = std::make_unique<Plan>(*mount, options);
  }
  ~DiskedPlan() {
    plan.reset();
    mount.reset();
    disk->close();
    disk.reset();
  }
  template <class Condition>
  void until(Condition condition) {
    while (!condition()) std::this_thread::yield();
  }
  // Reads: files that were found on the disk, and those that were not and were kept or found no place.
  uint64_t hits() const { return cache->metrics().hits.value(); }
  uint64_t settled() const { return hits() + cache->metrics().writes.value() + cache->metrics().refused.value(); }

  // The next file of the plan, when it is there and the disk has done with it.
  void read_next(int i) {
    ++read_;
    until([&] { return settled() >= read_; });
    read(i);
  }
  // A file that no plan has named; the plan is one file ahead.
  void read_other(int i) {
    ++read_;
    read(i);
    until([&] { return settled() > read_; });
  }
  void read(int i) {
    std::unique_ptr<OpenFile> file;
    const Result<Attributes> found = mount->catalog().resolve(name_of(i));
    ASSERT_TRUE(found.ok() && mount->open(found->ino, 0, &file) == 0);
    ReadBytes bytes;
    ASSERT_EQ(mount->read(*file, 0, kFileBytes, &bytes), 0);
    EXPECT_EQ(bytes.size, kFileBytes);
    bytes = {};
    mount->release(std::move(file));
  }
  // Hits while these are read.
  uint64_t read_all(const std::vector<int>& order) {
    const uint64_t before = hits();
    for (const int i : order) read_next(i);
    return hits() - before;
  }

  DiskFolder folder;
  TestLoop loop;
  ThreadPool io{1, "disk"}, background{1, "test"};
  std::shared_ptr<MemoryStore> memory = std::make_shared<MemoryStore>(loop);
  std::shared_ptr<Budget> budget = Budget::root("test", 64 << 20);
  std::shared_ptr<BufferPool> buffers = std::make_shared<BufferPool>(budget, 64 << 20);
  std::shared_ptr<DiskCache> cache;
  std::shared_ptr<DiskStore> disk;
  std::unique_ptr<Mount> mount;
  std::unique_ptr<Plan> plan;
  uint64_t read_ = 0;
};

std::vector<int> epoch(uint64_t seed) {
  std::vector<int> order(kFiles);
  std::iota(order.begin(), order.end(), 0);
  std::mt19937_64 random(seed);
  std::ranges::shuffle(order, random);
  return order;
}

// An epoch reads each file once, so it can hit what lay on the disk when it began and no more: half of them. LRU hits
// 15 % of them (docs/cache.md).
TEST(PlanDisk, WithAllEpochsInThePlanEachHitsAsMuchAsTheCacheHolds) {
  DiskedPlan world;
  const Plan::Id id = world.plan->begin();
  for (const uint64_t seed : {1, 2, 3, 4}) {
    for (const int i : epoch(seed)) ASSERT_TRUE(world.plan->add(id, name_of(i)));
  }
  world.plan->end(id, true);
  for (const uint64_t seed : {1, 2, 3, 4}) world.read_all(epoch(seed));
  EXPECT_EQ(world.hits(), 3 * kFiles / 2u);
}

// As a sampler does that names an epoch when it begins. What is not read yet is known to come and stays; only the first
// file may be fetched, and another one go for it, before the others have been named.
TEST(PlanDisk, WithOneEpochAtATimeToo) {
  DiskedPlan world;
  for (const uint64_t seed : {1, 2, 3}) {
    const Plan::Id id = world.plan->begin();
    for (const int i : epoch(seed)) ASSERT_TRUE(world.plan->add(id, name_of(i)));
    world.plan->end(id, true);
    const uint64_t hits = world.read_all(epoch(seed));
    EXPECT_LE(hits, seed == 1 ? 0u : kFiles / 2);
    EXPECT_GE(hits, seed == 1 ? 0u : kFiles / 2 - 1);
  }
}

// Half of the files are named to come once more and fill the cache. Others that are read then take the place of the
// one that has come, and then each other's.
TEST(PlanDisk, OtherReadsTakeNoPlaceOfWhatIsNamed) {
  DiskedPlan world;
  const Plan::Id id = world.plan->begin();
  for (int i = 0; i < kFiles / 2; ++i) ASSERT_TRUE(world.plan->add(id, name_of(i)));
  for (int i = 0; i < kFiles / 2; ++i) ASSERT_TRUE(world.plan->add(id, name_of(i)));
  world.plan->end(id, true);
  for (int i = 0; i < kFiles / 2; ++i) world.read_next(i);
  world.until([&] { return world.settled() == world.read_ + 1; });  // the plan is one file ahead
  for (int i = kFiles / 2; i < kFiles; ++i) world.read_other(i);
  EXPECT_EQ(world.cache->metrics().evictions.value(), kFiles / 2u);
  for (int i = 0; i < kFiles / 2; ++i) world.read_next(i);
  EXPECT_EQ(world.hits(), kFiles / 2u);
}

// The first file is not read yet, so the plan waits while the others are named as what they were.
TEST(PlanDisk, AFileThatChangedIsKnownAsWhatItIsNow) {
  DiskedPlan world(PlanOptions{}, Nanos{0});
  const Plan::Id id = world.plan->begin();
  ASSERT_TRUE(world.plan->add(id, name_of(0)));
  world.until([&] { return world.settled() == 1; });
  for (int i = 1; i < kFiles; ++i) world.memory->set(name_of(i), std::string(kFileBytes, 'z'));
  std::vector<int> first = epoch(1), second = epoch(2);
  std::erase(first, 0);
  std::erase(second, 0);
  for (const int i : first) ASSERT_TRUE(world.plan->add(id, name_of(i)));
  for (const int i : second) ASSERT_TRUE(world.plan->add(id, name_of(i)));
  world.plan->end(id, true);
  world.read_next(0);
  world.read_all(first);
  world.read_all(second);
  EXPECT_EQ(world.hits(), kFiles / 2u);
}

TEST(PlanDisk, WhatAClientTakesBackIsNotKeptForIt) {
  DiskedPlan world;
  const Plan::Id id = world.plan->begin();
  for (int i = 0; i < kFiles / 2; ++i) ASSERT_TRUE(world.plan->add(id, name_of(i)));
  for (int i = 0; i < kFiles / 2; ++i) ASSERT_TRUE(world.plan->add(id, name_of(i)));
  for (int i = 0; i < kFiles / 2; ++i) world.read_next(i);
  world.until([&] { return world.settled() == world.read_ + 1; });
  world.plan->end(id, false);
  for (int i = kFiles / 2; i < kFiles; ++i) world.read_other(i);
  EXPECT_EQ(world.cache->metrics().refused.value(), 0u);
  EXPECT_EQ(world.cache->metrics().evictions.value(), kFiles / 2u);
}

// Two paths are as many as wait without a cache; with one, the plan goes on as far as its memory does.
TEST(PlanDisk, MorePathsAreTakenForTheCachesSakeAsFarAsTheMemoryGoes) {
  DiskedPlan world(PlanOptions{.paths_max = 2});
  const uint64_t before = world.budget->used();
  const Plan::Id id = world.plan->begin();
  std::atomic<uint64_t> sent{0};
  std::thread sender([&] {
    while (world.plan->add(id, name_of(static_cast<int>(sent % kFiles)))) ++sent;
  });
  world.until([&] { return world.plan->waiting() > 5'000; });  // of 1 MiB: 10,000 at about 100 bytes
  world.until([&] { return world.budget->used() >= before + (1 << 20); });
  world.plan->close();
  sender.join();
  EXPECT_LT(sent.load(), 20'000u);
}

TEST(PlanFuture, GivesTheNextTurnOfWhatLiesAhead) {
  Hash128 a, b;
  a.bytes.fill(1);
  b.bytes.fill(2);
  PlanFuture future;
  EXPECT_EQ(future.next_after(a, 0, 0), PlanFuture::kNever);
  for (const uint32_t turn : {30u, 10u, 20u}) future.add(a, turn);
  EXPECT_EQ(future.next_after(a, 3, 99), 10u);  // of any block, whatever the time
  future.remove(a, 10);
  future.remove(a, 10);  // not known any more
  EXPECT_EQ(future.next_after(a, 0, 0), 20u);
  future.add(b, 25);
  future.replaced(a, b);
  EXPECT_EQ(future.next_after(a, 0, 0), PlanFuture::kNever);
  EXPECT_EQ(future.next_after(b, 0, 0), 20u);
  future.remove(a, 20);  // named as a
  EXPECT_EQ(future.next_after(b, 0, 0), 25u);
  future.replaced(b, a);  // and back
  EXPECT_EQ(future.next_after(a, 0, 0), 25u);
  future.remove(b, 25);
  future.remove(a, 30);
  EXPECT_EQ(future.next_after(a, 0, 0), PlanFuture::kNever);
  EXPECT_EQ(future.bytes(), 0u);
}

}  // namespace
}  // namespace headrace::mount
