// SPDX-License-Identifier: Apache-2.0
#include "loader/cache_plan.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

namespace headrace {
namespace {

constexpr uint64_t kSampleBytes = 100'000;  // a block of the cache has 5.24 of them
constexpr uint64_t kShardSamples = 200;

// Two shards of equal samples.
CachedSource two_shards() {
  std::vector<ShardEntry> shards;
  for (const char* key : {"a", "b"}) shards.push_back({key, kShardSamples * kSampleBytes, "etag", "", 0, ""});
  DatasetIndexBuilder builder(Format::kWebDataset, shards, {.stride = 1, .schema_json = {}});
  for (uint64_t shard = 0; shard < 2; ++shard) {
    ShardIndex found;
    found.samples = kShardSamples;
    for (uint64_t row = 0; row <= kShardSamples; ++row) found.borders.push_back(row * kSampleBytes);
    EXPECT_TRUE(builder.add(shard, std::move(found)).ok());
  }
  CachedSource out;
  out.index = *builder.finish();
  out.counts = std::make_shared<const ShardCounts>(*ShardCounts::make(out.index->counts()));
  for (uint8_t shard : {1, 2}) {
    out.objects.emplace_back();
    out.objects.back().bytes[0] = shard;
  }
  return out;
}

BatchPlanSpec spec_of(const CachedSource& cached, uint32_t rank, uint32_t world, uint64_t epochs) {
  BatchPlanSpec spec;
  SourceSpec source;
  source.counts = cached.counts;
  source.order = {7, 0, 4, 8, Shuffle::kStratified};
  spec.sources.push_back(std::move(source));
  spec.schedule = {0, 40, rank, world, Remainder::kDrop};
  spec.epochs = epochs;
  return spec;
}

// What the batches of a rank themselves say: block -> the batches in which one of its samples is delivered.
std::map<std::pair<uint64_t, uint32_t>, std::set<uint32_t>> deliveries(BatchPlanSpec spec) {
  std::map<std::pair<uint64_t, uint32_t>, std::set<uint32_t>> out;
  auto plan = BatchPlan::make(std::move(spec));
  EXPECT_TRUE(plan.ok());
  std::vector<PlanRow> rows;
  std::vector<uint64_t> samples;
  PlanPoint after;
  for (uint32_t batch = 0; plan->next(rows, after); ++batch) {
    for (const PlanRow& row : rows) {
      plan->samples(row, samples);
      const uint64_t sample = samples[row.index];
      const uint64_t begin = sample % kShardSamples * kSampleBytes;
      for (uint64_t block = begin / kDiskBlockBytes; block * kDiskBlockBytes < begin + kSampleBytes; ++block) {
        out[{sample / kShardSamples, static_cast<uint32_t>(block)}].insert(batch);
      }
    }
  }
  return out;
}

// A segment is read when its first sample is due: at the first delivery from a block, or before.
TEST(CachePlan, NoBlockIsNeededLaterThanItsFirstSample) {
  const CachedSource cached = two_shards();
  auto uses = future_uses(cached, 0, spec_of(cached, 1, 4, 3), 1, 2, 1 << 20);
  ASSERT_TRUE(uses.ok()) << uses.status().message();
  const auto delivered = deliveries(spec_of(cached, 1, 4, 3));
  EXPECT_GT(delivered.size(), 20u);
  for (const auto& [where, batches] : delivered) {
    const auto& [shard, block] = where;
    // Batch 0 has no time before it, so a first use there is not seen.
    const uint32_t first = uses->next_after(cached.objects[shard], block, 0);
    if (*batches.begin() > 0) {
      EXPECT_LE(first, *batches.begin()) << shard << ":" << block;
    }
  }
  // What this rank never reads in three epochs it does not wait for.
  for (uint64_t shard = 0; shard < 2; ++shard) {
    for (uint32_t block = 0; block < kShardSamples * kSampleBytes / kDiskBlockBytes; ++block) {
      if (delivered.contains({shard, block})) continue;
      EXPECT_EQ(uses->next_after(cached.objects[shard], block, 0), FutureUses::kNever) << shard << ":" << block;
    }
  }
}

TEST(CachePlan, AMachinesRanksAreTakenTogetherAndTheRowsAreBounded) {
  const CachedSource cached = two_shards();
  const auto both = future_uses(cached, 0, spec_of(cached, 0, 4, 2), 0, 2, 1 << 20);
  const auto one = future_uses(cached, 0, spec_of(cached, 0, 4, 2), 0, 1, 1 << 20);
  const auto little = future_uses(cached, 0, spec_of(cached, 0, 4, 2), 0, 1, 20);  // two batches of ten rows
  ASSERT_TRUE(both.ok() && one.ok() && little.ok());
  uint32_t earlier = 0;
  for (uint32_t block = 0; block < 38; ++block) {
    const uint32_t of_both = both->next_after(cached.objects[0], block, 0);
    const uint32_t of_one = one->next_after(cached.objects[0], block, 0);
    EXPECT_LE(of_both, of_one);
    earlier += of_both < of_one ? 1 : 0;
    const uint32_t next = little->next_after(cached.objects[0], block, 0);
    EXPECT_TRUE(next == FutureUses::kNever || next < 2) << next;
  }
  EXPECT_GT(earlier, 0u);
}

}  // namespace
}  // namespace headrace
