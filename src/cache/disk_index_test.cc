// SPDX-License-Identifier: Apache-2.0
#include "cache/disk_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

namespace headrace {
namespace {

constexpr uint64_t kFile = kDiskBlockBytes + kDiskHeaderBytes;

Hash128 object_hash(uint64_t number) {
  Hash128 hash;
  std::memcpy(hash.bytes.data(), &number, sizeof number);
  return hash;
}
BlockPlace place_of(uint32_t block, uint64_t object = 1, uint64_t folder = 7) {
  return {folder, object_hash(object), block};
}
bool nobody(uint64_t) { return false; }

TEST(FutureUses, GivesTheFirstUseAfterATime) {
  FutureUses::Builder builder;
  for (uint32_t time : {30u, 10u, 20u}) builder.add(object_hash(1), 2, time);
  const FutureUses uses = std::move(builder).finish();
  EXPECT_EQ(uses.next_after(object_hash(1), 2, 0), 10u);
  EXPECT_EQ(uses.next_after(object_hash(1), 2, 10), 20u);
  EXPECT_EQ(uses.next_after(object_hash(1), 2, 29), 30u);
  EXPECT_EQ(uses.next_after(object_hash(1), 2, 30), FutureUses::kNever);
  EXPECT_EQ(uses.next_after(object_hash(1), 1, 0), FutureUses::kNever);
  EXPECT_EQ(uses.next_after(object_hash(1), 3, 0), FutureUses::kNever);
  EXPECT_EQ(uses.next_after(object_hash(9), 2, 0), FutureUses::kNever);
}

TEST(DiskIndex, KeepsCountOfWhatComesAndGoes) {
  DiskIndex index(1);
  for (uint32_t block : {4u, 0u, 9u}) index.add(place_of(block), kFile, 1);
  index.add(place_of(4), kFile, 2);
  EXPECT_EQ(index.blocks(), 3u);
  EXPECT_EQ(index.bytes(), 3 * kFile);
  index.remove(place_of(4));
  index.remove(place_of(4));
  index.remove(place_of(5));
  index.remove(place_of(5, 2));
  EXPECT_EQ(index.blocks(), 2u);
  EXPECT_EQ(index.bytes(), 2 * kFile);
  EXPECT_FALSE(index.has(place_of(4)));
  EXPECT_TRUE(index.has(place_of(0)) && index.has(place_of(9)));
}

TEST(DiskIndex, WhoLookedBeforeABlockCameDoesNotTakeItAway) {
  DiskIndex index(1);
  const DiskIndex::Look none = index.look(place_of(1));
  index.add_new(place_of(1), kFile, 1);
  index.remove(place_of(1), none);
  EXPECT_TRUE(index.has(place_of(1)));
  const DiskIndex::Look first = index.look(place_of(1));
  index.found(place_of(1), kFile, 2, first);
  index.add_new(place_of(1), kFile, 3);  // made anew: the entry was of a file that was gone
  index.remove(place_of(1), first);
  EXPECT_TRUE(index.has(place_of(1)));
  EXPECT_EQ(index.bytes(), kFile);
  index.remove(place_of(1), index.look(place_of(1)));
  EXPECT_FALSE(index.has(place_of(1)));
}

// One reads good bytes of a damaged file that another removes meanwhile: who comes next would look for it in vain.
TEST(DiskIndex, WhoLookedBeforeABlockWentDoesNotBringItBack) {
  DiskIndex index(1);
  const DiskIndex::Look good = index.look(place_of(1)), bad = index.look(place_of(1));
  index.remove(place_of(1), bad);
  index.found(place_of(1), kFile, 1, good);
  EXPECT_FALSE(index.has(place_of(1)));
  const DiskIndex::Look early = index.look(place_of(1));
  index.found(place_of(1), kFile, 1, index.look(place_of(1)));  // of another process
  EXPECT_TRUE(index.has(place_of(1)));
  index.remove(place_of(1), early);
  EXPECT_FALSE(index.has(place_of(1)));
}

// A scan sees a damaged file; a reader removes it; then the scan says what it saw.
TEST(DiskIndex, AScanDoesNotBringBackWhatWasRemovedSinceItBegan) {
  DiskIndex index(1);
  const DiskIndex::Look early = index.look(place_of(1));
  index.begin_scan();
  index.add_scanned(place_of(1), kFile, 1);
  index.remove(place_of(1), early);
  index.remove(place_of(2), early);
  for (uint32_t block : {1u, 2u, 3u}) index.add_scanned(place_of(block), kFile, 1);
  EXPECT_FALSE(index.has(place_of(1)));
  EXPECT_FALSE(index.has(place_of(2)));
  EXPECT_TRUE(index.has(place_of(3)));
  index.add_new(place_of(1), kFile, 2);
  index.add_scanned(place_of(1), kFile, 1);
  index.remove(place_of(1), early);
  EXPECT_TRUE(index.has(place_of(1)));
  index.end_scan();
  index.remove(place_of(1), index.look(place_of(1)));
  index.add(place_of(2), kFile, 3);
  EXPECT_EQ(index.blocks(), 2u);
  EXPECT_EQ(index.bytes(), 2 * kFile);
}

TEST(DiskIndex, UnknownTrafficReplacesWhatWasUsedLongestAgo) {
  DiskIndex index(1);
  for (uint32_t block = 0; block < 5; ++block) index.add(place_of(block), kFile, 100 + block);
  index.touch(place_of(0), 200);
  const auto victim = index.victim({place_of(77)}, nobody);
  ASSERT_TRUE(victim);
  EXPECT_EQ(victim->block, 1u);
}

TEST(DiskIndex, NobodyTakesThePlaceOfAPlannedBlockWithoutAPlan) {
  DiskIndex index(1);
  index.plan(object_hash(1), 7, true);
  for (uint32_t block = 0; block < 5; ++block) index.add(place_of(block), kFile, 100);
  EXPECT_FALSE(index.victim({place_of(0, 2)}, nobody));                     // a mount's
  EXPECT_FALSE(index.victim({.place = place_of(77), .planned = true}, nobody));      // the loader's own
  index.plan(object_hash(1), 7, false);
  EXPECT_TRUE(index.victim({place_of(0, 2)}, nobody));
}

TEST(DiskIndex, WhatAnotherProcessClaimsStays) {
  DiskIndex index(1);
  for (uint32_t block = 0; block < 5; ++block) index.add(place_of(block, 1, 7), kFile, 100);
  const auto by_another = [](uint64_t folder) { return folder == 7; };
  EXPECT_FALSE(index.victim({.place = place_of(0, 2, 8), .planned = true}, by_another));
  index.add(place_of(3, 5, 9), kFile, 500);
  const auto victim = index.victim({.place = place_of(0, 2, 8), .planned = true}, by_another);
  ASSERT_TRUE(victim);
  EXPECT_EQ(victim->folder, 9u);
}

TEST(DiskIndex, TheBlockNeededLatestGoesAndOnlyForOneNeededEarlier) {
  DiskIndex index(1);
  index.plan(object_hash(1), 7, true);
  FutureUses::Builder builder;
  for (uint32_t block = 0; block < 4; ++block) {
    index.add(place_of(block), kFile, 100);
    builder.add(object_hash(1), block, 10 * (block + 1));
  }
  builder.add(object_hash(1), 77, 25);
  builder.add(object_hash(1), 78, 45);
  index.set_uses(3, std::make_shared<FutureUses>(std::move(builder).finish()));
  const auto victim = index.victim({.place = place_of(77), .planned = true, .source = 3, .now = 5}, nobody);
  ASSERT_TRUE(victim);
  EXPECT_EQ(victim->block, 3u);
  EXPECT_FALSE(index.victim({.place = place_of(78), .planned = true, .source = 3, .now = 5}, nobody));
  EXPECT_FALSE(index.victim({.place = place_of(77), .planned = true, .source = 3, .now = 25}, nobody));  // never again
  // Block 0 was used at 10, and is not known to be used again.
  EXPECT_EQ(index.victim({.place = place_of(77), .planned = true, .source = 3, .now = 15}, nobody)->block, 0u);
  // Block 1 is needed at 20, too, and may not be read yet: block 3 is the one that is needed latest.
  index.remove(place_of(0));
  EXPECT_EQ(index.victim({.place = place_of(77), .planned = true, .source = 3, .now = 20}, nobody)->block, 3u);
}

// --- hit rates, beside what arithmetic and the literature say --------------------------------------------------------

enum class Policy { kLru, kPinned, kBelady };

// `share` blocks an epoch in a fresh random order, of `blocks` in all, through a cache of `room`. The share of hits,
// after `warm` epochs. Time is counted in reads.
double hit_rate(Policy policy, uint32_t blocks, uint32_t share, uint32_t room, uint32_t epochs, uint32_t warm,
                uint32_t ahead = 0) {
  std::mt19937_64 random(11);
  std::vector<std::vector<uint32_t>> order(epochs + ahead + 1);
  for (auto& epoch : order) {
    epoch.resize(blocks);
    std::iota(epoch.begin(), epoch.end(), 0u);
    std::ranges::shuffle(epoch, random);
    epoch.resize(share);
  }
  DiskIndex index(5);
  if (policy != Policy::kLru) index.plan(object_hash(1), 7, true);
  uint64_t hits = 0;
  for (uint32_t epoch = 0; epoch < epochs; ++epoch) {
    if (policy == Policy::kBelady) {
      FutureUses::Builder builder;
      for (uint32_t e = epoch; e <= epoch + ahead; ++e) {
        for (uint32_t i = 0; i < share; ++i) builder.add(object_hash(1), order[e][i], e * share + i);
      }
      index.set_uses(3, std::make_shared<FutureUses>(std::move(builder).finish()));
    }
    for (uint32_t i = 0; i < share; ++i) {
      const uint32_t now = epoch * share + i;
      const BlockPlace place = place_of(order[epoch][i]);
      if (index.has(place)) {
        hits += epoch >= warm ? 1 : 0;
        index.touch(place, now);
        continue;
      }
      if (index.blocks() == room) {
        const auto victim = index.victim({place, policy != Policy::kLru, 3, now}, nobody);
        if (!victim) continue;
        index.remove(*victim);
      }
      index.add(place, kFile, now);
    }
  }
  return static_cast<double>(hits) / (static_cast<double>(epochs - warm) * share);
}

// One node reads everything: with room for a fraction c, pinned = c exactly; no order does better, and LRU, which keeps
// what was just used and will be needed last, gets c + (1 - c) ln(1 - c).
TEST(DiskIndexRates, OneNodePinnedIsTheFractionAndLruIsTheWorst) {
  constexpr uint32_t kBlocks = 4000;
  for (double c : {0.1, 0.25, 0.5, 0.75, 0.9}) {
    const auto room = static_cast<uint32_t>(c * kBlocks);
    EXPECT_DOUBLE_EQ(hit_rate(Policy::kPinned, kBlocks, kBlocks, room, 4, 1), c);
    EXPECT_NEAR(hit_rate(Policy::kLru, kBlocks, kBlocks, room, 4, 1), c + (1 - c) * std::log(1 - c), 0.025);
    EXPECT_NEAR(hit_rate(Policy::kBelady, kBlocks, kBlocks, room, 4, 1, 1), c, 0.02);
  }
}

// Every epoch splits the data anew over W nodes, each with room for a multiple of its share: what one of them hits, in
// percent, by exact Belady that knows so many epochs ahead (simulated elsewhere; full knowledge of 4 is nearly all).
TEST(DiskIndexRates, SeveralNodesGainFromKnowingSeveralEpochs) {
  struct Case {
    uint32_t nodes;
    double room;  // of a node's share
    double pinned, one_ahead, four_ahead;
  };
  for (const Case& c : {Case{8, 0.5, 6.3, 16, 28}, Case{8, 1, 12.7, 22, 41}, Case{8, 2, 25, 33, 50},
                        Case{64, 1, 1.6, 3.2, 7.6}}) {
    constexpr uint32_t kShare = 1000;
    const auto room = static_cast<uint32_t>(c.room * kShare);
    const auto rate = [&](Policy policy, uint32_t ahead) {
      return 100 * hit_rate(policy, c.nodes * kShare, kShare, room, 24, 8, ahead);
    };
    SCOPED_TRACE("W=" + std::to_string(c.nodes) + " room=" + std::to_string(c.room));
    EXPECT_NEAR(rate(Policy::kPinned, 0), c.pinned, 1.5);
    EXPECT_NEAR(rate(Policy::kBelady, 1), c.one_ahead, 2.5);
    EXPECT_NEAR(rate(Policy::kBelady, 4), c.four_ahead, 2.5);
  }
}

}  // namespace
}  // namespace headrace
