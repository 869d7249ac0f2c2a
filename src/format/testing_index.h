// SPDX-License-Identifier: Apache-2.0
//
// Test support: run an indexer over bytes in memory in chunks of a given size, as an engine would
// over ranges.
#pragma once

#include <algorithm>
#include <memory>
#include <string>

#include "format/dataset_index.h"
#include "format/indexer.h"
#include "format/webdataset.h"

namespace headrace::testing {

inline Result<ShardIndex> run_indexer(Indexer& indexer, std::string_view object, uint64_t chunk) {
  auto step = indexer.next({});
  while (step.ok() && !step->done) {
    const uint64_t n = std::min(chunk, step->need.size());
    step = indexer.next(as_bytes(object.substr(step->need.begin, n)));
  }
  if (!step.ok()) return step.status();
  return std::move(*step->done);
}

inline Result<ShardIndex> index_tar(std::string_view tar, IndexerOptions options = {},
                                    uint64_t chunk = 1 << 20) {
  return run_indexer(*make_tar_indexer(tar.size(), options), tar, chunk);
}

}  // namespace headrace::testing
