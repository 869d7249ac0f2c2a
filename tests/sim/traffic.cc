// SPDX-License-Identifier: Apache-2.0
//
// What a pass in calm weather may cost (docs/ordering.md, "What the engine owes to the order"): every byte once, and no
// more requests than blocks, shards' ends and lanes say.
#include <algorithm>
#include <numeric>

#include "simulation.h"

namespace headrace::sim {

// Whole epochs of one source that is read sample by sample or in its blocks: nothing is read for a later pass.
bool Simulation::traffic_is_known(const Run& run) const {
  if (!run.life.is_clean() || world_.mixture || run.steps.empty()) return false;
  const model::Point& begin = run.steps[0].before;
  if (begin.position != begin.drop || (world_.remainder != "short" && world_.remainder != "drop")) return false;
  if (world_.sources[0].data.stride != 1 || !world_.sources[0].order.weights.empty()) return false;
  return std::all_of(run.processes.begin(), run.processes.end(), [](const auto& p) { return p->memory_is_ample(); });
}

void Simulation::check_traffic(const Run& run) {
  if (!traffic_is_known(run)) return;
  ++outcome_.clean_passes;
  uint64_t reads = 0;
  for (uint32_t rank = 0; rank < run.life.ranks; ++rank) {
    uint64_t delivered = 0, bytes = 0;
    for (const auto& batch : run.taken[rank]) {
      for (const model::Row& row : batch.rows) delivered += data_[row.source]->sample_bytes(row.sample);
    }
    for (uint32_t w = 0; w < run.life.workers; ++w) {
      reads += run.processes[rank * run.life.workers + w]->reads();
      bytes += run.processes[rank * run.life.workers + w]->bytes_read();
    }
    if (run.life.fetch.gap_bytes_max > 0 || bytes == delivered) continue;
    fail("rank " + std::to_string(rank) + " read " + std::to_string(bytes) + " bytes for " +
         std::to_string(delivered) + " delivered");
  }
  check_requests(run, reads);
}

// F + S' + 3 L an epoch, where a lane has one reader and no range is cut for its size.
void Simulation::check_requests(const Run& run, uint64_t reads) {
  const model::Source& source = world_.sources[0].order;
  const uint64_t lanes = states_->lanes(), block = states_->block(), n = source.size();
  const bool one_reader = run.life.workers == 1 && lanes % run.life.ranks == 0 && source.spec.shuffle != "none" && source.selected.empty();
  if (!one_reader || run.life.fetch.gap_bytes_max < 65536) return;
  uint64_t ends = 0;
  for (const uint64_t count : source.spec.counts) ends += count % block > 0 ? 1 : 0;
  const uint64_t epochs = run.model->at().epoch - run.steps[0].before.epoch;
  const double most = 1.05 * static_cast<double>(epochs * (n / block + ends + 3 * lanes));
  if (static_cast<double>(reads) <= most) return;
  fail(std::to_string(reads) + " requests for " + std::to_string(epochs) + " epochs of " + std::to_string(n / block) +
       " blocks, " + std::to_string(ends) + " shards' ends and " + std::to_string(lanes) + " lanes");
}

}  // namespace headrace::sim
