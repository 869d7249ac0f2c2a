// SPDX-License-Identifier: Apache-2.0
//
// The read cache over a store in memory: every byte against the object, and what happens when memory is short.
#include "mount/read_cache.h"

#include <gtest/gtest.h>

#include <future>

#include "store/fault_store.h"
#include "store/memory_store.h"
#include "store/test_loop.h"
#include "sys/buffer_pool.h"
#include "sys/random.h"

namespace headrace::mount {
namespace {

std::string pattern_bytes(uint64_t size, uint64_t seed) {
  SeededRandom random(seed);
  std::string out(size, '\0');
  for (char& c : out) c = static_cast<char>(random.uniform() * 256);
  return out;
}

struct World {
  explicit World(uint64_t memory_bytes = 64 << 20) {
    budget = Budget::root("test", memory_bytes);
    buffers = std::make_shared<BufferPool>(budget, memory_bytes + (64 << 20));
  }
  ReadCache& open() {
    cache = std::make_unique<ReadCache>(faults, buffers, budget, stats, options);
    return *cache;
  }
  std::shared_ptr<CachedFile> file(const std::string& key, const std::string& content) {
    const std::string etag = memory->set(key, content);
    return cache->open(key, etag, content.size());
  }
  std::string text(CachedFile& of, uint64_t begin, uint64_t end) {
    Result<ReadBytes> bytes = cache->read(of, {begin, end});
    if (!bytes.ok()) return "error: " + bytes.status().message();
    std::string out;
    for (const Bytes part : bytes->parts) out += as_text(part);
    EXPECT_EQ(out.size(), bytes->size);
    return out;
  }

  TestLoop loop;
  std::shared_ptr<MemoryStore> memory = std::make_shared<MemoryStore>(loop);
  std::shared_ptr<FaultStore> faults = std::make_shared<FaultStore>(memory, std::make_unique<SeededRandom>(1));
  std::shared_ptr<Budget> budget;
  std::shared_ptr<BufferPool> buffers;
  MountStats stats;
  ReadCacheOptions options;
  std::unique_ptr<ReadCache> cache;
};

TEST(ReadCache, EveryReadIsTheObjectsBytes) {
  World world;
  ReadCache& cache = world.open();
  const std::string content = pattern_bytes(9'000'001, 1);
  const auto file = world.file("f", content);
  SeededRandom random(2);
  for (int i = 0; i < 2000; ++i) {
    const auto begin = static_cast<uint64_t>(random.uniform() * 9'000'001);
    const auto size = static_cast<uint64_t>(random.uniform() * (i % 3 == 0 ? 1 << 20 : 5000)) + 1;
    ASSERT_EQ(world.text(*file, begin, begin + size), content.substr(begin, size)) << begin << " " << size;
  }
  EXPECT_EQ(world.text(*file, 9'000'001, 9'000'002), "");
  EXPECT_EQ(world.text(*file, 9'000'000, UINT64_MAX), content.substr(9'000'000));
  static_cast<void>(cache);
}

TEST(ReadCache, ASmallFileIsOneGet) {
  World world;
  world.open();
  const std::string content = pattern_bytes(115'000, 1);
  const auto file = world.file("f", content);
  for (uint64_t at = 0; at < 115'000; at += 32 << 10)
    EXPECT_EQ(world.text(*file, at, at + (32 << 10)), content.substr(at, 32 << 10));
  EXPECT_EQ(world.stats.fetches.value(), 1u);
}

TEST(ReadCache, ASequentialReadFetchesEachByteOnce) {
  World world;
  world.open();
  const std::string content = pattern_bytes(30 << 20, 1);
  const auto file = world.file("f", content);
  for (uint64_t at = 0; at < content.size(); at += 128 << 10) {
    ASSERT_EQ(world.text(*file, at, at + (128 << 10)), content.substr(at, 128 << 10));
  }
  EXPECT_EQ(world.stats.fetched_bytes.value(), content.size());
  EXPECT_LT(world.stats.fetches.value(), 60u);
}

TEST(ReadCache, MemoryStaysWithinTheBudgetWhateverIsRead) {
  World world(4 << 20);
  world.open();
  std::vector<std::shared_ptr<CachedFile>> files;
  std::vector<std::string> contents;
  for (int i = 0; i < 30; ++i) {
    contents.push_back(pattern_bytes(600'000 + 10'000 * i, i));
    files.push_back(world.file("f" + std::to_string(i), contents.back()));
  }
  SeededRandom random(2);
  for (int i = 0; i < 3000; ++i) {
    const auto which = static_cast<size_t>(random.uniform() * 30);
    const auto begin = static_cast<uint64_t>(random.uniform() * 600'000);
    ASSERT_EQ(world.text(*files[which], begin, begin + 1000), contents[which].substr(begin, 1000));
    ASSERT_LE(world.budget->used(), 4u << 20);
  }
  EXPECT_GT(world.stats.evicted_bytes.value() + world.stats.evicted_unread_bytes.value(), 0u);
}

// Room for what is missing is made, and what is there of the same read was used longest ago.
TEST(ReadCache, WhatIsThereOfAReadIsNotLetGoOfForWhatIsMissing) {
  World world(1 << 20);
  world.open();
  const std::string content = pattern_bytes(4 << 20, 1);
  const auto file = world.file("f", content);
  constexpr uint64_t kPiece = 64 << 10, kAt = 1 << 20;
  EXPECT_EQ(world.text(*file, (4 << 20) - 1, 4 << 20), content.substr((4 << 20) - 1));  // the first read has bytes read ahead of it
  EXPECT_EQ(world.text(*file, kAt, kAt + kPiece), content.substr(kAt, kPiece));
  std::vector<std::shared_ptr<CachedFile>> others;
  for (int i = 0; world.budget->used() + kPiece / 2 <= world.budget->bytes_max(); ++i) {
    others.push_back(world.file("g" + std::to_string(i), pattern_bytes(kPiece / 4, i)));
    EXPECT_EQ(world.text(*others.back(), 0, kPiece).size(), kPiece / 4);
  }
  ASSERT_EQ(world.stats.evicted_bytes.value(), 0u);
  EXPECT_EQ(world.text(*file, kAt, kAt + 2 * kPiece), content.substr(kAt, 2 * kPiece));
  EXPECT_LE(world.budget->used(), world.budget->bytes_max());
}

TEST(ReadCache, AReplacedObjectIsAnErrorNotOtherBytes) {
  World world;
  world.open();
  const std::string old = pattern_bytes(20 << 20, 1);
  const auto file = world.file("f", old);
  EXPECT_EQ(world.text(*file, 0, 1000), old.substr(0, 1000));
  world.memory->set("f", pattern_bytes(20 << 20, 2));
  const Result<ReadBytes> later = world.cache->read(*file, {15 << 20, (15 << 20) + 1000});
  EXPECT_EQ(later.status().code(), Code::kPrecondition);
  EXPECT_EQ(world.text(*file, 0, 1000), old.substr(0, 1000));  // what is held is of the old one
  world.memory->erase("f");
  EXPECT_EQ(world.cache->read(*file, {12 << 20, (12 << 20) + 10}).status().code(), Code::kNotFound);
}

TEST(ReadCache, AFailedReadIsToldAndTheNextOneTriesAnew) {
  World world;
  world.open();
  const auto file = world.file("f", "content");
  world.faults->add({.op = StoreOp::kRead, .times = 1, .status = unavailable("gone for a moment")});
  EXPECT_EQ(world.cache->read(*file, {0, 7}).status().code(), Code::kUnavailable);
  EXPECT_EQ(world.text(*file, 0, 7), "content");
  EXPECT_EQ(world.budget->used(), world.buffers->charge(7));
}

TEST(ReadCache, AReadThatGetsNoAnswerEndsAtItsDeadline) {
  World world;
  world.options.read_deadline = std::chrono::milliseconds(30);
  world.open();
  const auto file = world.file("f", "content");
  world.faults->add({.kind = StoreFault::Kind::kHang, .op = StoreOp::kRead});
  EXPECT_EQ(world.cache->read(*file, {0, 7}).status().code(), Code::kTimeout);
  world.cache->idle(*file);  // cancels it, so that the end does not wait
}

TEST(ReadCache, ClosingAFileCancelsWhatIsOnItsWay) {
  World world;
  world.open();
  const auto file = world.file("f", pattern_bytes(20 << 20, 1));
  world.faults->add({.kind = StoreFault::Kind::kHang, .op = StoreOp::kRead, .skip = 1});
  world.text(*file, 0, 1000);
  EXPECT_GT(world.budget->used(), 1u << 20);
  world.cache->idle(*file);
  world.cache->close();  // would wait for ever
  EXPECT_LE(world.budget->used(), 1u << 20);
}

TEST(ReadCache, APlannedFileIsThereBeforeItIsRead) {
  World world;
  world.open();
  std::vector<uint64_t> done;
  world.cache->on_plan_progress([&](uint64_t place) { done.push_back(place); });
  const auto file = world.file("f", "0123456789");
  EXPECT_EQ(world.cache->fetch_planned(*file, 7, 1 << 20, 0).pieces, 1u);
  EXPECT_EQ(world.cache->planned_bytes(), 10u);
  EXPECT_EQ(world.text(*file, 0, 4), "0123");
  EXPECT_EQ(world.cache->planned_bytes(), 10u);
  EXPECT_EQ(world.text(*file, 4, 10), "456789");
  EXPECT_EQ(world.cache->planned_bytes(), 0u);
  EXPECT_EQ(done, std::vector<uint64_t>{7});
  EXPECT_EQ(world.stats.fetches.value(), 1u);
}

TEST(ReadCache, APlanTakesNoMemoryFromFilesThatAreNotReadYet) {
  World world(2 << 20);
  world.open();
  std::vector<std::shared_ptr<CachedFile>> files;
  int taken = 0;
  for (int i = 0; i < 10; ++i) {
    files.push_back(world.file("f" + std::to_string(i), pattern_bytes(500'000, i)));
    taken += world.cache->fetch_planned(*files.back(), static_cast<uint64_t>(i) + 1, 1 << 20, 0).refused ? 0 : 1;
  }
  EXPECT_GE(taken, 3);
  EXPECT_LT(taken, 5);
  EXPECT_EQ(world.stats.evicted_unread_bytes.value(), 0u);
  // A reader may: the latest of the plan goes first.
  const auto other = world.file("other", pattern_bytes(400'000, 99));
  EXPECT_EQ(world.text(*other, 0, 10).size(), 10u);
  EXPECT_EQ(world.cache->held_bytes(*files[0]), 500'000u);
}

TEST(ReadCache, MakeRoomGivesBackWhatWasReadFirst) {
  World world(4 << 20);
  world.open();
  const auto file = world.file("f", pattern_bytes(1 << 20, 1));
  world.text(*file, 0, 1 << 20);
  std::promise<void> done;  // the loop lets go of the piece a moment after the reader has its bytes
  world.loop.post([&] { done.set_value(); });
  done.get_future().wait();
  ASSERT_TRUE(world.budget->reserve(3 << 20));
  EXPECT_TRUE(world.cache->make_room(1 << 20));
  EXPECT_EQ(world.cache->held_bytes(*file), 0u);
  world.budget->release(3 << 20);
}

TEST(ReadCache, OfWhatWasReadOnlySoMuchIsKept) {
  World world(512 << 20);
  world.options.used_bytes_max = 8 << 20;
  world.options.pattern.window_max = 4 << 20;
  world.open();
  const std::string content = pattern_bytes(64 << 20, 1);
  const auto file = world.file("f", content);
  for (uint64_t at = 0; at < content.size(); at += 1 << 20) {
    ASSERT_EQ(world.text(*file, at, at + (1 << 20)), content.substr(at, 1 << 20));
  }
  EXPECT_LT(world.cache->held_bytes(*file), 16u << 20);  // and the last window, after which no room was needed
  EXPECT_EQ(world.stats.evicted_unread_bytes.value(), 0u);
  EXPECT_EQ(world.stats.fetched_bytes.value(), content.size());
}

TEST(ReadCache, AfterCloseReadsFailAtOnce) {
  World world;
  world.open();
  const auto file = world.file("f", "content");
  world.cache->close();
  EXPECT_EQ(world.cache->read(*file, {0, 7}).status().code(), Code::kCancelled);
}

}  // namespace
}  // namespace headrace::mount
