// SPDX-License-Identifier: Apache-2.0
//
// What a data set's store and its disk cache did, as numbers. Both are shared with other streams: what happened since
// one began is a difference of two.
#pragma once

#include <cstdint>

#include "loader/dataset.h"

namespace headrace {

struct CacheCounts {
  // Of one store: bytes that its readers wanted, and what was asked of the store below for them.
  uint64_t wanted_bytes = 0, asked_bytes = 0;
  // Of the folder, all stores of this process.
  uint64_t hit_bytes = 0, write_bytes = 0, refused = 0, evictions = 0, corrupt = 0, errors = 0, slow = 0, bypassed = 0;

  // All zero for null.
  static CacheCounts of(const DiskStore* store);
  friend CacheCounts operator-(const CacheCounts& after, const CacheCounts& before);
};

struct StoreCounts {
  uint64_t requests = 0, retries = 0, throttles = 0, hedges = 0, hedges_won = 0;
  CacheCounts cache;

  static StoreCounts of(const Dataset& dataset);
  friend StoreCounts operator-(const StoreCounts& after, const StoreCounts& before);
};

}  // namespace headrace
