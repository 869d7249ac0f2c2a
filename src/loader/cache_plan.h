// SPDX-License-Identifier: Apache-2.0
//
// Tells the disk caches of a pass when its blocks will be needed: walks the batches of this machine's ranks through the
// coming epochs. Only where that is worth something: several machines share the data, so that an epoch wants other
// blocks than the last, and the cache does not hold them all. On one machine nothing is replaced (docs/cache.md).
#pragma once

#include <memory>
#include <vector>

#include "fetch/batch_plan.h"
#include "loader/dataset.h"

namespace headrace {

// Epochs that are looked at behind the last one of a pass: with 4, nearly all there is to gain (docs/cache.md).
constexpr uint64_t kCacheEpochsAhead = 4;

// `spec`: the pass's plan, from where it starts. The work is done on the runtime's disk threads; until it is done
// nothing planned is replaced. `datasets`: the plan's sources.
void plan_cache(const std::vector<std::shared_ptr<Dataset>>& datasets, BatchPlanSpec spec);

// What of a data set the walk needs: it may outlive the data set, and must not keep it.
struct CachedSource {
  std::shared_ptr<const DatasetIndex> index;
  std::shared_ptr<const ShardCounts> counts;
  std::vector<Hash128> objects;  // DiskObject::hash() of each shard
};
// The uses that `spec` makes of the blocks of its source number `source`, by the ranks [rank_begin, rank_end), up to so
// many rows. For tests; plan_cache() calls it.
Result<FutureUses> future_uses(const CachedSource& cached, uint32_t source, const BatchPlanSpec& spec,
                               uint32_t rank_begin, uint32_t rank_end, uint64_t rows_max);

}  // namespace headrace
