// SPDX-License-Identifier: Apache-2.0
#include "batch/slot_pool.h"

#include <gtest/gtest.h>

#include "sys/budget.h"
#include "sys/buffer_pool.h"

namespace headrace {
namespace {

TEST(SlotPool, RoundsLargeSizesByAtMostAnEighthAndSmallOnesNotAtAll) {
  auto budget = Budget::root("test", 1ull << 40);
  SlotPool slots(std::make_shared<BufferPool>(budget, 1ull << 30));
  EXPECT_EQ(slots.take(1000).bytes().size(), 1000u);
  for (uint64_t bytes = 256 << 10; bytes < 40'000'000; bytes += bytes / 37 + 1) {
    const uint64_t got = slots.take(bytes).bytes().size();
    ASSERT_GE(got, bytes);
    ASSERT_LE(got, bytes + bytes / 8);
  }
  // 1 MiB + 1 rounds to 1 MiB + 128 KiB: nine eighths.
  EXPECT_EQ(slots.take((1 << 20) + 1).bytes().size(), (1u << 20) + (1u << 17));
}

TEST(SlotPool, GivesAnEmptySlotWhenTheBudgetRefuses) {
  auto budget = Budget::root("test", 1 << 20);
  SlotPool slots(std::make_shared<BufferPool>(budget, 1ull << 30));
  EXPECT_FALSE(slots.take(2 << 20));
  EXPECT_GT(slots.charge(2 << 20), 1u << 20);
  EXPECT_TRUE(slots.take(4096));
}

TEST(Slot, LeavesTheBudgetWhenDetachedAndKeepsItsMemoryAndSource) {
  auto budget = Budget::root("test", 1 << 20);
  auto pool = std::make_shared<BufferPool>(budget, 8ull << 20);
  std::weak_ptr<BufferPool> watched = pool;
  Slot slot = SlotPool(pool).take(1 << 20);
  ASSERT_TRUE(slot);
  pool.reset();
  EXPECT_EQ(budget->used(), 1u << 20);
  slot.detach();
  slot.detach();  // twice is once
  EXPECT_EQ(budget->used(), 0u);
  slot.bytes()[(1 << 20) - 1] = std::byte{1};
  EXPECT_FALSE(watched.expired());
  slot = Slot();
  EXPECT_TRUE(watched.expired());
  EXPECT_EQ(budget->used(), 0u);
}

}  // namespace
}  // namespace headrace
