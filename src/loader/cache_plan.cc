// SPDX-License-Identifier: Apache-2.0
#include "loader/cache_plan.h"

#include <algorithm>
#include <unordered_set>

#include "fetch/segment.h"
#include "loader/host.h"
#include "sys/log.h"

namespace headrace {
namespace {

// Rows walked, of all ranks and epochs: 100 ns each, and a use (4 bytes) for each block of a segment's.
constexpr uint64_t kRowsMax = 1 << 26;

// This machine's ranks, as launchers number them: so many in a row. Where they stand otherwise, blocks that a neighbour
// needs count as needed later than they are.
struct LocalRanks {
  uint32_t begin, end;
};
LocalRanks ranks_beside(uint32_t rank, uint32_t world) {
  const uint32_t local = local_ranks();
  if (local == 0 || world % local != 0) return {rank, rank + 1};
  return {rank / local * local, rank / local * local + local};
}

// Notes which blocks the segments of one source have, each once for every rank that comes for it.
class Walk {
 public:
  Walk(const CachedSource& cached, uint32_t source, FutureUses::Builder& uses)
      : cached_(cached), source_(source), uses_(uses) {}
  void begin_rank() { seen_.clear(); }
  void row(BatchPlan& plan, const PlanRow& row, uint32_t batch) {
    if (row.source != source_) return;
    if (row.epoch != epoch_) seen_.clear();
    epoch_ = row.epoch;
    if (!seen_.insert(row.segment).second) return;
    plan.samples(row, samples_);
    plan.wanted(row, wanted_);
    mine_.clear();
    for (uint32_t index : wanted_) mine_.push_back(samples_[index]);
    std::ranges::sort(mine_);
    for (const RowRun& run : row_runs(mine_, *cached_.index, *cached_.counts, 0)) {
      const ByteRange range = cached_.index->range_of_rows(run.shard, run.row_begin, run.row_end);
      for (uint64_t block = range.begin / kDiskBlockBytes; block * kDiskBlockBytes < range.end; ++block) {
        uses_.add(cached_.objects[run.shard], static_cast<uint32_t>(block), batch);
      }
    }
  }

 private:
  const CachedSource& cached_;
  const uint32_t source_;
  FutureUses::Builder& uses_;
  std::unordered_set<uint64_t> seen_;
  uint64_t epoch_ = 0;
  std::vector<uint64_t> samples_, mine_;
  std::vector<uint32_t> wanted_;
};

CachedSource cached_source(const Dataset& dataset) {
  CachedSource out{dataset.index_ptr(), dataset.counts(), {}};
  for (const ObjectMeta& object : dataset.shard_objects()) {
    out.objects.push_back(
        DiskObject{dataset.disk_store()->place(), object.key, object.etag, object.version_id, object.size}.hash());
  }
  return out;
}

bool worth_planning(const Dataset& dataset, LocalRanks ranks, uint32_t world) {
  const std::shared_ptr<DiskStore>& disk = dataset.disk_store();
  if (!disk || dataset.unit_counts() || ranks.end - ranks.begin == world) return false;
  const uint64_t most = disk->cache().options().limits.bytes_max;
  return most > 0 && dataset.bytes() > most;
}

}  // namespace

Result<FutureUses> future_uses(const CachedSource& cached, uint32_t source, const BatchPlanSpec& spec,
                               uint32_t rank_begin, uint32_t rank_end, uint64_t rows_max) {
  FutureUses::Builder uses;
  Walk walk(cached, source, uses);
  const uint64_t rows_each = rows_max / (rank_end - rank_begin);
  for (uint32_t rank = rank_begin; rank < rank_end; ++rank) {
    BatchPlanSpec one = spec;
    one.schedule.rank = rank;
    HR_TRY_ASSIGN(BatchPlan plan, BatchPlan::make(std::move(one)));
    walk.begin_rank();
    std::vector<PlanRow> rows;
    PlanPoint after;
    uint64_t walked = 0;
    for (uint32_t batch = 0; walked < rows_each && plan.next(rows, after); ++batch) {
      for (const PlanRow& row : rows) walk.row(plan, row, batch);
      walked += rows.size();
    }
  }
  return std::move(uses).finish();
}

void plan_cache(const std::vector<std::shared_ptr<Dataset>>& datasets, BatchPlanSpec spec) {
  const LocalRanks ranks = ranks_beside(spec.schedule.rank, spec.schedule.world);
  // Batches that are made in turn by several processes are numbered by each for itself.
  if (spec.share_count > 1) return;
  spec.epochs += kCacheEpochsAhead;
  spec.batches_max = 0;
  for (uint32_t source = 0; source < datasets.size(); ++source) {
    const std::shared_ptr<Dataset>& dataset = datasets[source];
    if (!worth_planning(*dataset, ranks, spec.schedule.world)) continue;
    dataset->disk_store()->set_uses(nullptr);
    dataset->runtime()->disk_threads().post(
        [weak = std::weak_ptr(dataset->disk_store()), cached = cached_source(*dataset), source, spec, ranks] {
          auto uses = future_uses(cached, source, spec, ranks.begin, ranks.end, kRowsMax);
          if (!uses.ok()) return log_line(LogLevel::kWarning, "plan the disk cache: " + uses.status().message());
          if (auto disk = weak.lock()) disk->set_uses(std::make_shared<const FutureUses>(*std::move(uses)));
        });
  }
}

}  // namespace headrace
