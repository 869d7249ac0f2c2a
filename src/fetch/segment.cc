// SPDX-License-Identifier: Apache-2.0
#include "fetch/segment.h"

#include <algorithm>

#include "fetch/unit_source.h"

namespace headrace {

std::vector<RowRun> row_runs(const std::vector<uint64_t>& samples, const DatasetIndex& index,
                             const ShardCounts& counts, uint64_t gap_bytes_max) {
  std::vector<RowRun> runs;
  for (uint64_t sample : samples) {
    const ShardCounts::At at = counts.locate(sample);
    const uint64_t stride = index.stride_of_row(at.row);
    const uint64_t begin = index.row_begin(stride), end = index.row_end(at.shard, stride);
    if (!runs.empty() && runs.back().shard == at.shard) {
      RowRun& run = runs.back();
      const bool near =
          begin <= run.row_end ||
          index.range_of_rows(at.shard, run.row_end, begin).size() <= gap_bytes_max;
      if (near) {
        run.row_end = std::max(run.row_end, end);
        run.samples.push_back(sample);
        continue;
      }
    }
    runs.push_back({at.shard, begin, end, {sample}});
  }
  return runs;
}

std::vector<RowRun> unit_runs(const std::vector<uint64_t>& samples, const UnitSource& units) {
  std::vector<RowRun> runs;
  for (uint64_t sample : samples) {
    const uint64_t unit = units.counts().locate(sample).shard;
    if (runs.empty() || runs.back().unit != unit) {
      const UnitSource::Place at = units.place(unit);
      runs.push_back({at.shard, at.row, at.row + units.counts().count(unit), {}, unit});
    }
    runs.back().samples.push_back(sample);
  }
  return runs;
}

}  // namespace headrace
