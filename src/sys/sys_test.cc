// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "sys/budget.h"
#include "sys/buffer_pool.h"
#include "sys/clock.h"
#include "sys/executor.h"
#include "sys/failpoint.h"
#include "sys/file_system.h"
#include "sys/random.h"

namespace headrace {
namespace {

using std::chrono::milliseconds;

TEST(ManualExecutor, FiresTimersInOrderOfTimeAndOfPosting) {
  ManualClock clock;
  ManualExecutor executor(clock);
  std::string seen;
  executor.post_at(clock.now() + milliseconds(20), [&] { seen += 'c'; });
  executor.post_at(clock.now() + milliseconds(10), [&] { seen += 'a'; });
  executor.post_at(clock.now() + milliseconds(10), [&] { seen += 'b'; });
  executor.post([&] { seen += '0'; });
  executor.run_all();
  EXPECT_EQ(seen, "0abc");
  EXPECT_EQ(clock.now().time_since_epoch(), milliseconds(20));
}

TEST(ThreadPool, RunsAllThatWasPostedBeforeClose) {
  std::atomic<int> ran{0};
  ThreadPool pool(3, "test");
  for (int i = 0; i < 1000; ++i) pool.post([&] { ++ran; });
  pool.close();
  EXPECT_EQ(ran, 1000);
}

TEST(Budget, CountsAChildInItsParentAndRefusesAboveEither) {
  auto root = Budget::root("process", 100);
  auto child = Budget::child(root, "loader", 60);
  EXPECT_TRUE(child->reserve(50));
  EXPECT_FALSE(child->reserve(20));  // the child's own limit
  EXPECT_TRUE(root->reserve(50));
  EXPECT_FALSE(child->reserve(5));  // the parent's
  EXPECT_EQ(root->used(), 100u);
  root->release(50);
  child->release(50);
  EXPECT_EQ(root->used(), 0u);
  EXPECT_EQ(root->peak(), 100u);
}

TEST(Budget, TellsListenersOfReleaseAndOthersOfAShortfall) {
  auto root = Budget::root("process", 100);
  int released = 0, mine = 0, theirs = 0;
  const uint64_t a = root->subscribe({[&] { ++released; }, [&](uint64_t) { ++mine; }});
  const uint64_t b = root->subscribe({nullptr, [&](uint64_t bytes) { theirs += static_cast<int>(bytes); }});
  root->shortfall(a, 7);
  EXPECT_EQ(mine, 0);
  EXPECT_EQ(theirs, 7);
  ASSERT_TRUE(root->reserve(1));
  root->release(1);
  EXPECT_EQ(released, 1);
  root->unsubscribe(a);
  root->unsubscribe(b);
}

TEST(BufferPool, ReturnsEveryByteToTheBudgetWhateverTheSizes) {
  auto budget = Budget::root("process", 64ull << 20);
  BufferPool pool(budget, 64ull << 20);
  SeededRandom random(1);
  std::vector<Buffer> held;
  for (int i = 0; i < 20'000; ++i) {
    if (held.size() > 40 || (random.next() % 2 && !held.empty())) {
      std::swap(held[random.next() % held.size()], held.back());
      held.pop_back();
      continue;
    }
    const uint64_t size = 1 + random.next() % (random.next() % 8 ? 200'000 : 3'000'000);
    Buffer buffer = pool.take(size);
    if (!buffer) continue;
    ASSERT_EQ(buffer.bytes().size(), size);
    ASSERT_GE(buffer.charged(), size);
    ASSERT_LE(buffer.charged(), std::max<uint64_t>(1024, size + size / 4 + 4096));
    std::memset(buffer.bytes().data(), i, size);  // ASan would see two owners of a byte as a data race of contents
    held.push_back(std::move(buffer));
    // The limit, and at most one partly used slab for each of the 37 classes.
    ASSERT_LE(pool.mapped(), (64ull << 20) + 37 * (2ull << 20));
  }
  held.clear();
  EXPECT_EQ(budget->used(), 0u);
}

TEST(BufferPool, WhatItKeepsLeavesRoomForOthersOfTheBudget) {
  auto budget = Budget::root("process", 8 << 20);
  BufferPool pool(budget, 8 << 20);
  const auto touch = [&](int count, uint64_t size) {
    std::vector<Buffer> held;
    for (int i = 0; i < count; ++i) held.push_back(pool.take(size));
    EXPECT_TRUE(held.back());
  };
  touch(8, 1 << 20);
  EXPECT_EQ(pool.mapped(), 8u << 20);  // all kept
  ASSERT_TRUE(budget->reserve(5 << 20));
  pool.trim();
  EXPECT_EQ(pool.mapped(), 3u << 20);
  touch(1, 3 << 20);  // another size: what was kept of the first one has to go
  EXPECT_EQ(pool.mapped(), 3u << 20);
  budget->release(5 << 20);
  touch(8, 1 << 20);
  EXPECT_LE(pool.mapped(), 8u << 20);
}

TEST(BufferPool, MemoryThatLeftTheBudgetIsNotTakenForAnothers) {
  auto budget = Budget::root("process", 4 << 20);
  BufferPool pool(budget, 4 << 20);
  Buffer given = pool.take(1 << 20);
  given.leave_budget();
  { const Buffer kept = pool.take(2 << 20); }
  pool.trim();
  EXPECT_EQ(pool.mapped(), 3u << 20);
}

TEST(BufferPool, NeverHandsOutTheSameByteTwice) {
  auto budget = Budget::root("process", 32ull << 20);
  BufferPool pool(budget, 32ull << 20);
  std::vector<Buffer> held;
  for (uint64_t size = 1; size < 600'000; size += 9'973) {
    held.push_back(pool.take(size));
    ASSERT_TRUE(held.back());
    std::memset(held.back().bytes().data(), static_cast<int>(held.size()), size);
  }
  for (size_t i = 0; i < held.size(); ++i) {
    for (std::byte b : held[i].bytes()) ASSERT_EQ(static_cast<uint8_t>(b), static_cast<uint8_t>(i + 1));
  }
}

TEST(FileSystem, WritesWholeFilesAndNamesWhatIsMissing) {
  RealFileSystem files;
  const std::string path = "/tmp/headrace-sys-test-" + std::to_string(::getpid()) + "/a/b";
  ASSERT_TRUE(files.write_atomic(path, "hello").ok());
  EXPECT_EQ(*files.read(path, 100), "hello");
  EXPECT_EQ(files.read(path, 4).status().code(), Code::kExhausted);
  ASSERT_TRUE(files.remove(path).ok());
  const Status gone = files.read(path, 100).status();
  EXPECT_EQ(gone.code(), Code::kNotFound);
  EXPECT_NE(gone.message().find(path), std::string::npos);
}

#ifdef HR_FAILPOINTS
TEST(Failpoint, FiresWhereArmedAndOnlyThen) {
  failpoint_arm("x", corrupt("boom"), /*skip=*/1, /*times=*/1);
  EXPECT_TRUE(HR_FAILPOINT("x").ok());
  EXPECT_EQ(HR_FAILPOINT("x").code(), Code::kCorrupt);
  EXPECT_TRUE(HR_FAILPOINT("x").ok());
  failpoints_clear();
}
#endif

}  // namespace
}  // namespace headrace
