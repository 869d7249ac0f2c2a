// SPDX-License-Identifier: Apache-2.0
//
// Plans over a mount without a kernel, on a store in memory.
#include "mount/plan.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <atomic>

#include "store/memory_store.h"
#include "store/test_loop.h"
#include "sys/buffer_pool.h"

namespace headrace::mount {
namespace {

struct World {
  explicit World(uint64_t memory_bytes = 64 << 20) {
    budget = Budget::root("test", memory_bytes);
    buffers = std::make_shared<BufferPool>(budget, memory_bytes);
    mount = std::make_unique<Mount>(memory, nullptr, buffers, budget, background, MountOptions{});
  }
  ~World() {
    plan.reset();
    mount.reset();
  }
  Plan& open(PlanOptions options = {}) {
    plan = std::make_unique<Plan>(*mount, options);
    return *plan;
  }
  // Waits for something that another thread is about to do; the test's own time limit ends what never comes.
  template <class Condition>
  void until(Condition condition) {
    while (!condition()) std::this_thread::yield();
  }
  std::string read(const std::string& path) {
    const Result<Attributes> found = mount->catalog().resolve(path);
    std::unique_ptr<OpenFile> file;
    if (!found.ok() || mount->open(found->ino, O_RDONLY, &file) != 0) return "error";
    ReadBytes bytes;
    std::string out = "error";
    if (mount->read(*file, 0, 1 << 20, &bytes) == 0) {
      out.clear();
      for (const Bytes part : bytes.parts) out += as_text(part);
    }
    bytes = {};
    mount->release(std::move(file));
    return out;
  }

  TestLoop loop;
  ThreadPool background{1, "test"};
  std::shared_ptr<MemoryStore> memory = std::make_shared<MemoryStore>(loop);
  std::shared_ptr<Budget> budget;
  std::shared_ptr<BufferPool> buffers;
  std::unique_ptr<Mount> mount;
  std::unique_ptr<Plan> plan;
};

std::string name_of(int i) { return "d/f" + std::to_string(i); }

TEST(Mount, NamesContentsAndKeptMemoryTogetherKeepWithinTheBudget) {
  constexpr uint64_t kMemory = 16 << 20;
  World world(kMemory);
  world.memory->set("large", std::string(14 << 20, 'x'));
  for (int i = 0; i < 30'000; ++i) world.memory->set("names/of-some-length-" + std::to_string(i), "x");
  Attributes large, names;
  ASSERT_EQ(world.mount->lookup(kRootIno, "large", &large), 0);  // by its name: nothing is listed yet
  std::unique_ptr<OpenFile> file;
  ASSERT_EQ(world.mount->open(large.ino, O_RDONLY, &file), 0);
  for (uint64_t at = 0; at < 14 << 20; at += 1 << 20) {
    ReadBytes bytes;
    ASSERT_EQ(world.mount->read(*file, at, 1 << 20, &bytes), 0);
  }
  world.mount->release(std::move(file));
  EXPECT_GT(world.buffers->mapped(), 12u << 20);
  ASSERT_EQ(world.mount->lookup(kRootIno, "names", &names), 0);
  FolderView view;
  ASSERT_EQ(world.mount->open_folder(names.ino, &view), 0);
  EXPECT_EQ(view.children.size(), 30'000u);
  EXPECT_GT(world.mount->catalog().metadata_bytes(), 4u << 20);
  constexpr uint64_t kPartlyUsed = 2 * (2 << 20);  // slabs of the pool, of the two classes that the first reads took
  EXPECT_LE(world.buffers->mapped() + world.mount->catalog().metadata_bytes(), kMemory + kPartlyUsed);
  world.mount->close_folder(view);
}

TEST(Plan, FilesAreFetchedAheadAndReadWithoutWaiting) {
  World world;
  for (int i = 0; i < 50; ++i) world.memory->set(name_of(i), std::string(1000, static_cast<char>('a' + i % 26)));
  Plan& plan = world.open();
  const Plan::Id id = plan.begin();
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(plan.add(id, name_of(i)));
  plan.end(id, true);
  world.until([&] { return world.mount->stats().fetched_bytes.value() == 50'000; });
  for (int i = 0; i < 50; ++i) EXPECT_EQ(world.read(name_of(i)), std::string(1000, static_cast<char>('a' + i % 26)));
  EXPECT_EQ(world.mount->stats().fetches.value(), 50u);
  EXPECT_EQ(world.mount->stats().waits.value(), 0u);
  EXPECT_EQ(world.mount->stats().plan_hits.value(), 50u);
  EXPECT_EQ(world.mount->cache().planned_bytes(), 0u);
}

TEST(Plan, ItGoesAsFarAheadAsItMayAndOnWithItsReaders) {
  World world;
  for (int i = 0; i < 100; ++i) world.memory->set(name_of(i), std::string(1000, 'x'));
  Plan& plan = world.open({.bytes_ahead_max = 10'000});
  const Plan::Id id = plan.begin();
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(plan.add(id, name_of(i)));
  plan.end(id, true);
  for (int i = 0; i < 100; ++i) {
    world.until([&] { return world.mount->stats().plan_fetched.value() >= std::min<uint64_t>(100, i + 10); });
    EXPECT_LE(world.mount->cache().planned_bytes(), 10'000u);
    EXPECT_EQ(world.read(name_of(i)).size(), 1000u);
  }
  EXPECT_EQ(world.mount->stats().fetches.value(), 100u);
}

TEST(Plan, FilesThatAreNeverReadDoNotStopIt) {
  World world;
  for (int i = 0; i < 400; ++i) world.memory->set(name_of(i), std::string(1000, 'x'));
  Plan& plan = world.open({.bytes_ahead_max = 150'000});
  const Plan::Id id = plan.begin();
  for (int i = 0; i < 400; ++i) ASSERT_TRUE(plan.add(id, name_of(i)));
  plan.end(id, true);
  for (int i = 1; i < 400; i += 2) {  // each second one, never before the plan has come to it
    world.until([&] { return world.mount->stats().plan_fetched.value() > static_cast<uint64_t>(i); });
    EXPECT_EQ(world.read(name_of(i)).size(), 1000u);
  }
}

// The large file has two pieces: the first one's end tells the plan that its reader is there, and passes by the others.
TEST(Plan, ClosingItWhileItForgetsFilesEndsIt) {
  World world;
  for (int i = 0; i < 100; ++i) world.memory->set(name_of(i), std::string(i == 99 ? 5 << 20 : 1000, 'x'));
  Plan& plan = world.open();
  const Plan::Id id = plan.begin();
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(plan.add(id, name_of(i)));
  world.until([&] { return world.mount->stats().plan_fetched.value() == 100; });
  Ino ino = 0;
  std::shared_ptr<CachedFile> large;
  ASSERT_TRUE(world.mount->pin(name_of(99), &ino, &large).ok());
  std::thread closer;
  const Status held = world.mount->catalog().with_node(kRootIno, [&](Tree&, Node&) -> Status {
    EXPECT_TRUE(world.mount->cache().read(*large, {0, 4 << 20}).ok());
    world.until([&] { return world.mount->stats().plan_dropped.value() > 0; });  // it waits for the catalogue now
    std::atomic<bool> began = false;
    closer = std::thread([&] { began = true, plan.close(); });
    world.until([&] { return began.load(); });
    for (int i = 0; i < 1000; ++i) std::this_thread::yield();  // close() tells whoever waits, which is nobody
    return {};
  });
  ASSERT_TRUE(held.ok());
  closer.join();
  world.mount->unpin(ino);
}

TEST(Plan, ItGoesOnAheadOfAReaderWhoHasOvertakenIt) {
  World world;
  for (int i = 0; i < 100; ++i) world.memory->set(name_of(i), std::string(1000, 'x'));
  Plan& plan = world.open({.bytes_ahead_max = 10'000});
  const Plan::Id id = plan.begin();
  for (int i = 0; i < 50; ++i) EXPECT_EQ(world.read(name_of(i)).size(), 1000u);
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(plan.add(id, name_of(i)));
  world.until([&] { return world.mount->stats().fetches.value() == 60; });  // the ten that come next
  EXPECT_EQ(world.mount->stats().plan_overtaken.value(), 50u);
  EXPECT_EQ(world.read(name_of(50)).size(), 1000u);
  EXPECT_EQ(world.mount->stats().plan_hits.value(), 1u);
}

TEST(Plan, AFileThatItNamesTwiceIsKeptForTheSecondReadingToo) {
  World world;
  for (int i = 0; i < 10; ++i) world.memory->set(name_of(i), std::string(1000, 'x'));
  Plan& plan = world.open({.bytes_ahead_max = 4'000});
  const Plan::Id id = plan.begin();
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(plan.add(id, name_of(i % 10)));
  for (int i = 0; i < 20; ++i) {
    world.until([&] { return world.mount->stats().plan_fetched.value() > static_cast<uint64_t>(i); });
    EXPECT_EQ(world.read(name_of(i % 10)).size(), 1000u);
  }
  EXPECT_EQ(world.mount->stats().plan_overtaken.value(), 0u);
  EXPECT_EQ(world.mount->stats().fetches.value(), 10u);
}

TEST(Plan, WhatIsNotThereIsLeftOut) {
  World world;
  world.memory->set("d/f", "x");
  Plan& plan = world.open();
  const Plan::Id id = plan.begin();
  for (const char* path : {"nope", "d/nope", "d", "", "../x", "d/f"}) ASSERT_TRUE(plan.add(id, path));
  plan.end(id, true);
  world.until([&] { return world.mount->stats().plan_fetched.value() == 1; });
  EXPECT_EQ(world.read("d/f"), "x");
}

TEST(Plan, APlanThatEndsEarlyTakesBackWhatWasNotBegun) {
  World world;
  for (int i = 0; i < 100; ++i) world.memory->set(name_of(i), std::string(1000, 'x'));
  Plan& plan = world.open({.bytes_ahead_max = 5'000});
  const Plan::Id id = plan.begin();
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(plan.add(id, name_of(i)));
  world.until([&] { return world.mount->stats().plan_fetched.value() >= 5; });
  plan.end(id, false);
  EXPECT_EQ(plan.waiting(), 0u);
  EXPECT_LE(world.mount->stats().fetches.value(), 6u);
}

TEST(Plan, TwoPlansTakeTurns) {
  World world;
  for (int i = 0; i < 40; ++i) world.memory->set(name_of(i), std::string(1000, 'x'));
  Plan& plan = world.open({.bytes_ahead_max = 10'000});
  const Plan::Id first = plan.begin(), second = plan.begin();
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(plan.add(first, name_of(i)));
    ASSERT_TRUE(plan.add(second, name_of(20 + i)));
  }
  world.until([&] { return world.mount->stats().plan_fetched.value() >= 10; });
  EXPECT_EQ(world.read(name_of(0)).size(), 1000u);
  EXPECT_EQ(world.read(name_of(20)).size(), 1000u);
  EXPECT_EQ(world.mount->stats().plan_hits.value(), 2u);
}

TEST(Plan, ClosingEndsItWhileItWaits) {
  World world;
  for (int i = 0; i < 100; ++i) world.memory->set(name_of(i), std::string(1000, 'x'));
  Plan& plan = world.open({.bytes_ahead_max = 1, .paths_max = 2});
  const Plan::Id id = plan.begin();
  std::thread sender([&] {
    while (plan.add(id, name_of(1))) {
    }
  });
  world.until([&] { return plan.waiting() == 2; });
  plan.close();
  sender.join();
}

}  // namespace
}  // namespace headrace::mount
