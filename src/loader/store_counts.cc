// SPDX-License-Identifier: Apache-2.0
#include "loader/store_counts.h"

namespace headrace {

StoreCounts StoreCounts::of(const Dataset& dataset) {
  const StoreMetrics& m = dataset.store_metrics();
  return {m.requests.value(), m.retries.value(),    m.throttles.value(),
          m.hedges.value(),   m.hedges_won.value(), CacheCounts::of(dataset.disk_store().get())};
}

StoreCounts operator-(const StoreCounts& after, const StoreCounts& before) {
  return {after.requests - before.requests, after.retries - before.retries,
          after.throttles - before.throttles, after.hedges - before.hedges,
          after.hedges_won - before.hedges_won, after.cache - before.cache};
}

CacheCounts CacheCounts::of(const DiskStore* store) {
  if (store == nullptr) return {};
  const DiskMetrics& m = store->cache().metrics();
  return {store->bytes_wanted(), store->bytes_asked(), m.hit_bytes.value(), m.write_bytes.value(), m.refused.value(),
          m.evictions.value(),   m.corrupt.value(),    m.errors.value(),    m.slow.value(),        m.bypassed.value()};
}

CacheCounts operator-(const CacheCounts& after, const CacheCounts& before) {
  return {after.wanted_bytes - before.wanted_bytes, after.asked_bytes - before.asked_bytes,
          after.hit_bytes - before.hit_bytes,       after.write_bytes - before.write_bytes,
          after.refused - before.refused,           after.evictions - before.evictions,
          after.corrupt - before.corrupt,           after.errors - before.errors,
          after.slow - before.slow,                 after.bypassed - before.bypassed};
}

}  // namespace headrace
