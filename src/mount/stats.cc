// SPDX-License-Identifier: Apache-2.0
#include "mount/stats.h"

#include <utility>

namespace headrace::mount {

std::string stats_json(const MountStats& stats, const StoreMetrics* store, const DiskStore* disk,
                       const MountGauges& gauges) {
  std::string text = "{";
  const auto add = [&text](const char* name, uint64_t value) {
    text += (text.size() > 1 ? ",\n \"" : "\n \"") + std::string(name) + "\": " + std::to_string(value);
  };
  const std::pair<const char*, const Counter*> counters[] = {{"lookups", &stats.lookups},
                                                             {"lookups_asked", &stats.lookups_asked},
                                                             {"listings", &stats.listings},
                                                             {"list_objects", &stats.list_objects},
                                                             {"hidden_keys", &stats.hidden_keys},
                                                             {"opens", &stats.opens},
                                                             {"reads", &stats.reads},
                                                             {"read_bytes", &stats.read_bytes},
                                                             {"fetches", &stats.fetches},
                                                             {"fetched_bytes", &stats.fetched_bytes},
                                                             {"waits", &stats.waits},
                                                             {"plan_files", &stats.plan_files},
                                                             {"plan_fetched", &stats.plan_fetched},
                                                             {"plan_hits", &stats.plan_hits},
                                                             {"plan_dropped", &stats.plan_dropped},
                                                             {"plan_overtaken", &stats.plan_overtaken},
                                                             {"uploads", &stats.uploads},
                                                             {"uploaded_bytes", &stats.uploaded_bytes},
                                                             {"uploads_aborted", &stats.uploads_aborted},
                                                             {"eio", &stats.eio},
                                                             {"estale", &stats.estale},
                                                             {"evicted_bytes", &stats.evicted_bytes},
                                                             {"evicted_unread_bytes", &stats.evicted_unread_bytes}};
  for (const auto& [name, counter] : counters) add(name, counter->value());
  add("memory_bytes_max", gauges.memory_bytes_max);
  add("memory_bytes", gauges.memory_bytes);
  add("memory_bytes_peak", gauges.memory_bytes_peak);
  add("metadata_bytes", gauges.metadata_bytes);
  add("nodes", gauges.nodes);
  add("plan_waiting", gauges.plan_waiting);
  add("plan_ahead_bytes", gauges.plan_ahead_bytes);
  if (store != nullptr) {
    add("requests", store->requests.value());
    add("request_bytes", store->bytes.value());
    add("retries", store->retries.value());
    add("throttles", store->throttles.value());
    add("hedges", store->hedges.value());
    add("errors", store->errors.value());
  }
  if (disk != nullptr) {
    const DiskMetrics& of_disk = disk->cache().metrics();
    add("cache_wanted_bytes", disk->bytes_wanted());
    add("cache_asked_bytes", disk->bytes_asked());
    add("cache_hit_bytes", of_disk.hit_bytes.value());
    add("cache_write_bytes", of_disk.write_bytes.value());
    add("cache_refused", of_disk.refused.value());
    add("cache_evictions", of_disk.evictions.value());
    add("cache_corrupt", of_disk.corrupt.value());
    add("cache_errors", of_disk.errors.value());
    add("cache_slow", of_disk.slow.value());
    add("cache_bypassed", of_disk.bypassed.value());
  }
  return text + "\n}\n";
}

}  // namespace headrace::mount
