// SPDX-License-Identifier: Apache-2.0
//
// Uploads to a store in memory, with its uploads counted: nothing may be left behind.
#include "mount/upload.h"

#include <gtest/gtest.h>

#include "store/fault_store.h"
#include "store/memory_store.h"
#include "store/test_loop.h"

namespace headrace::mount {
namespace {

struct World {
  std::unique_ptr<Upload> open(const std::string& key) {
    return std::make_unique<Upload>(faults, budget, nullptr, stats, key, options);
  }
  std::string content(const std::string& key) {
    const Result<ObjectMeta> meta = head_now(*memory, key);
    return meta.ok() ? *read_all(*memory, key, {0, meta->size}) : "none";
  }

  TestLoop loop;
  std::shared_ptr<MemoryStore> memory = std::make_shared<MemoryStore>(loop);
  std::shared_ptr<FaultStore> faults = std::make_shared<FaultStore>(memory, std::make_unique<SeededRandom>(1));
  std::shared_ptr<Budget> budget = Budget::root("test", 1 << 20);
  MountStats stats;
  UploadOptions options{.part_bytes = 1000, .parts_max = 50, .memory_deadline = std::chrono::milliseconds(30)};
};

std::string letters(size_t size) {
  std::string out(size, '\0');
  for (size_t i = 0; i < size; ++i) out[i] = static_cast<char>('a' + i * 7 % 26);
  return out;
}

TEST(Upload, ASmallFileIsOnePutAndAppearsAtFinish) {
  World world;
  const auto upload = world.open("k");
  ASSERT_TRUE(upload->begin().ok());
  ASSERT_TRUE(upload->write(0, as_bytes("hello ")).ok());
  ASSERT_TRUE(upload->write(6, as_bytes("world")).ok());
  EXPECT_EQ(world.content("k"), "none");
  ASSERT_TRUE(upload->finish().ok());
  EXPECT_EQ(world.content("k"), "hello world");
  EXPECT_EQ(upload->etag(), head_now(*world.memory, "k")->etag);
  EXPECT_TRUE(upload->finish().ok());
  EXPECT_EQ(world.budget->used(), 0u);
}

TEST(Upload, ALargeFileIsSentInPartsAndAppearsWhole) {
  for (const size_t size : {999, 1000, 1001, 2000, 12'345}) {
    World world;
    const std::string content = letters(size);
    const auto upload = world.open("k");
    ASSERT_TRUE(upload->begin().ok());
    for (size_t at = 0; at < size; at += 333) {
      ASSERT_TRUE(upload->write(at, as_bytes(std::string_view(content).substr(at, 333))).ok());
      EXPECT_EQ(world.content("k"), "none");
    }
    ASSERT_TRUE(upload->finish().ok()) << size;
    EXPECT_EQ(world.content("k"), content);
    EXPECT_EQ(world.memory->uploads(), 0u);
    EXPECT_EQ(world.budget->used(), 0u);
  }
}

TEST(Upload, AnEmptyFileIsAnEmptyObject) {
  World world;
  const auto upload = world.open("k");
  ASSERT_TRUE(upload->begin().ok());
  ASSERT_TRUE(upload->finish().ok());
  EXPECT_EQ(world.content("k"), "");
}

TEST(Upload, WritingOutOfOrderIsRefusedForGoodAndLeavesNothing) {
  World world;
  const auto upload = world.open("k");
  ASSERT_TRUE(upload->begin().ok());
  ASSERT_TRUE(upload->write(0, as_bytes(letters(2500))).ok());
  EXPECT_EQ(upload->write(100, as_bytes("x")).code(), Code::kInvalidArgument);
  EXPECT_EQ(upload->write(2500, as_bytes("x")).code(), Code::kInvalidArgument);
  EXPECT_FALSE(upload->finish().ok());
  EXPECT_EQ(world.content("k"), "none");
  EXPECT_EQ(world.memory->uploads(), 0u);
  EXPECT_EQ(world.budget->used(), 0u);
}

TEST(Upload, WhatIsNotFinishedIsAborted) {
  World world;
  auto upload = world.open("k");
  ASSERT_TRUE(upload->begin().ok());
  ASSERT_TRUE(upload->write(0, as_bytes(letters(5500))).ok());
  upload.reset();
  EXPECT_EQ(world.content("k"), "none");
  EXPECT_EQ(world.memory->uploads(), 0u);
  EXPECT_EQ(world.stats.uploads_aborted.value(), 1u);
}

TEST(Upload, AFailureOfAnyRequestIsToldAtFinishAndAborts) {
  for (const uint64_t skip : {0, 1, 2, 3, 4}) {  // begin, three parts, complete
    World world;
    world.faults->add({.op = StoreOp::kEdit, .skip = skip, .times = 1, .status = unavailable("broken")});
    const auto upload = world.open("k");
    ASSERT_TRUE(upload->begin().ok());
    static_cast<void>(upload->write(0, as_bytes(letters(2500))));
    EXPECT_EQ(upload->finish().code(), Code::kUnavailable) << skip;
    EXPECT_EQ(world.content("k"), "none");
    EXPECT_EQ(world.memory->uploads(), 0u);
    EXPECT_EQ(world.budget->used(), 0u);
  }
}

TEST(Upload, AnObjectThatIsThereIsNotReplaced) {
  for (const size_t size : {10, 2500}) {
    World world;
    const auto upload = world.open("k");
    ASSERT_TRUE(upload->begin().ok());
    ASSERT_TRUE(upload->write(0, as_bytes(letters(size))).ok());
    world.memory->set("k", "somebody else's");
    EXPECT_EQ(upload->finish().code(), Code::kPrecondition) << size;
    EXPECT_EQ(world.content("k"), "somebody else's");
    EXPECT_EQ(world.memory->uploads(), 0u);
  }
}

TEST(Upload, AFileOfTooManyPartsIsRefused) {
  World world;
  const auto upload = world.open("k");
  ASSERT_TRUE(upload->begin().ok());
  const Status status = upload->write(0, as_bytes(letters(51'000)));
  EXPECT_EQ(status.code(), Code::kExhausted);
  EXPECT_NE(status.message().find("parts_max=50"), std::string::npos);
  EXPECT_EQ(world.memory->uploads(), 0u);
}

TEST(Upload, AfterFinishNothingMoreIsWritten) {
  World world;
  const auto upload = world.open("k");
  ASSERT_TRUE(upload->begin().ok());
  ASSERT_TRUE(upload->write(0, as_bytes("x")).ok());
  ASSERT_TRUE(upload->finish().ok());
  EXPECT_EQ(upload->write(1, as_bytes("y")).code(), Code::kInvalidArgument);
  EXPECT_EQ(world.content("k"), "x");
}

TEST(Upload, WithoutMemoryAFileCannotBeOpened) {
  World world;
  ASSERT_TRUE(world.budget->reserve((1 << 20) - 500));
  EXPECT_EQ(world.open("k")->begin().code(), Code::kExhausted);
  EXPECT_EQ(world.budget->used(), (1u << 20) - 500);
  world.budget->release((1 << 20) - 500);
}

}  // namespace
}  // namespace headrace::mount
