// SPDX-License-Identifier: Apache-2.0
#include "sys/memfd_arena.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <random>
#include <vector>

#include "sys/peer_watch.h"

namespace headrace {
namespace {

constexpr uint64_t kMiB = 1ull << 20;

std::shared_ptr<MemfdArena> arena_of(uint64_t bytes, uint64_t kept = 0) {
  auto made = MemfdArena::make(bytes, kept);
  EXPECT_TRUE(made.ok()) << made.status().message();
  return *std::move(made);
}

// Pages that exist, by the kernel's count of 512-byte blocks.
uint64_t resident(const MemfdArena& arena) {
  struct stat facts {};
  EXPECT_EQ(::fstat(arena.descriptor(), &facts), 0);
  return static_cast<uint64_t>(facts.st_blocks) * 512;
}

TEST(MemfdArena, HoldsOnlyPagesInUseOfItsAddressSpace) {
  auto arena = arena_of(1ull << 40);
  EXPECT_EQ(resident(*arena), 0u);
  std::byte* at = arena->take(3 * kMiB);
  std::memset(at, 1, 3 * kMiB);
  EXPECT_EQ(resident(*arena), 3 * kMiB);
  arena->give(at, 3 * kMiB);
  EXPECT_EQ(resident(*arena), 0u);
}

TEST(MemfdArena, AnotherMappingOfTheDescriptorSeesEachPieceAtItsOffset) {
  auto arena = arena_of(64 * kMiB);
  static_cast<void>(arena->take(5000));
  std::byte* at = arena->take(100);
  std::memcpy(at, "here", 5);
  const auto offset = static_cast<uint64_t>(at - arena->data());
  EXPECT_EQ(offset, 8192u);  // 5000 bytes are two pages
  void* other = ::mmap(nullptr, arena->size(), PROT_READ, MAP_SHARED, arena->descriptor(), 0);
  ASSERT_NE(other, MAP_FAILED);
  EXPECT_STREQ(static_cast<const char*>(other) + offset, "here");
  ::munmap(other, arena->size());
}

TEST(MemfdArena, KeepsMemoryForPiecesOfTheSameSizeUpToItsLimitTheOldestGoFirst) {
  auto arena = arena_of(64 * kMiB, 3 * kMiB);
  std::byte* first = arena->take(2 * kMiB);
  std::byte* second = arena->take(kMiB);
  std::byte* third = arena->take(kMiB);
  std::memset(first, 1, 2 * kMiB);
  std::memset(second, 2, kMiB);
  std::memset(third, 3, kMiB);
  arena->give(first, 2 * kMiB);
  arena->give(second, kMiB);
  EXPECT_EQ(resident(*arena), 4 * kMiB);
  EXPECT_EQ(arena->take(kMiB), second);  // with its pages
  EXPECT_EQ(second[0], std::byte{2});
  arena->give(second, kMiB);
  arena->give(third, kMiB);  // 4 MiB: the first is dropped
  EXPECT_EQ(arena->kept(), 2 * kMiB);
  EXPECT_EQ(resident(*arena), 2 * kMiB);
  EXPECT_EQ(arena->take(2 * kMiB), first);  // its place is free again, without its pages
  EXPECT_EQ(first[0], std::byte{0});
}

TEST(MemfdArena, WhenItIsFullItDropsWhatItKeepsAndThenRefuses) {
  auto arena = arena_of(4 * kMiB, 64 * kMiB);
  std::byte* a = arena->take(2 * kMiB);
  std::byte* b = arena->take(2 * kMiB);
  EXPECT_EQ(arena->take(1), nullptr);
  arena->give(a, 2 * kMiB);
  arena->give(b, 2 * kMiB);
  EXPECT_EQ(arena->take(4 * kMiB), a);  // both, merged
  EXPECT_EQ(arena->take(1), nullptr);
}

TEST(MemfdArena, PiecesNeverOverlapInAnyOrderOfTakingAndGiving) {
  auto arena = arena_of(8 * kMiB, kMiB);
  std::mt19937 draw(7);
  struct Piece {
    std::byte* at;
    uint64_t size;
    uint8_t mark;
  };
  std::vector<Piece> held;
  const auto intact = [](const Piece& p) { return p.at[0] == std::byte{p.mark} && p.at[p.size - 1] == std::byte{p.mark}; };
  for (int i = 0; i < 20000; ++i) {
    const uint64_t size = 1 + draw() % (draw() % 4 == 0 ? 900'000 : 20'000);
    if (std::byte* at = draw() % 2 == 0 ? arena->take(size) : nullptr) {
      held.push_back({at, size, static_cast<uint8_t>(i)});
      at[0] = at[size - 1] = std::byte{held.back().mark};
    } else if (!held.empty()) {
      std::swap(held[draw() % held.size()], held.back());
      ASSERT_TRUE(intact(held.back()));
      arena->give(held.back().at, held.back().size);
      held.pop_back();
    }
  }
  for (const Piece& piece : held) arena->give(piece.at, piece.size);
  EXPECT_NE(arena->take(8 * kMiB), nullptr);  // nothing was lost
}

TEST(MemfdArena, CannotBeShrunkOrGrown) {
  auto arena = arena_of(kMiB);
  EXPECT_NE(::ftruncate(arena->descriptor(), 0), 0);
  EXPECT_NE(::ftruncate(arena->descriptor(), 2 * kMiB), 0);
}

TEST(MemfdArena, IsSmallerWhereTheProcessMayMapNoMore) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit low = before;
  low.rlim_cur = 100 * kMiB;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &low), 0);
  auto made = MemfdArena::make();
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  ASSERT_TRUE(made.ok()) << made.status().message();
  EXPECT_EQ((*made)->size(), 100 * kMiB);
}

int status_of(pid_t child) {
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(MemfdArena, AForkedChildNeitherTakesNorGivesItsParentsMemory) {
  auto arena = arena_of(kMiB);
  std::byte* at = arena->take(4096);
  at[0] = std::byte{7};
  const pid_t child = ::fork();
  if (child == 0) {
    arena->give(at, 4096);
    ::_exit(arena->take(4096) == nullptr ? 0 : 1);
  }
  EXPECT_EQ(status_of(child), 0);
  EXPECT_EQ(at[0], std::byte{7});
}

TEST(MemfdPool, ChargesItsBudgetUntilTheBufferLeavesItOrGoes) {
  auto budget = Budget::root("test", 10'000);
  auto pool = std::make_shared<MemfdPool>(budget, arena_of(kMiB));
  {
    Buffer one = pool->take(5000);
    EXPECT_EQ(one.bytes().size(), 5000u);
    EXPECT_EQ(budget->used(), 8192u);  // two pages
    EXPECT_FALSE(pool->take(5000));
    one.leave_budget();
    EXPECT_EQ(budget->used(), 0u);
    EXPECT_TRUE(pool->take(5000));
  }
  EXPECT_EQ(budget->used(), 0u);
}

TEST(MemfdPool, AFullArenaIsAFullBudget) {
  auto budget = Budget::root("test", 1ull << 30);
  auto pool = std::make_shared<MemfdPool>(budget, arena_of(kMiB));
  EXPECT_FALSE(pool->take(2 * kMiB));
  EXPECT_EQ(budget->used(), 0u);
  EXPECT_TRUE(MemfdPool(nullptr, arena_of(kMiB)).take(kMiB));  // nothing counts
}

TEST(PeerWatch, EndsTheProcessWhenTheOtherEndIsClosedAlthoughItNeverReturns) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(ends[0]);
    if (!exit_when_peer_closes(ends[1]).ok()) ::_exit(2);
    while (true) ::pause();
  }
  ::close(ends[1]);
  ASSERT_EQ(::write(ends[0], "data is no end", 14), 14);
  ::close(ends[0]);
  EXPECT_EQ(status_of(child), 1);
}

}  // namespace
}  // namespace headrace
