// SPDX-License-Identifier: Apache-2.0
//
// What a mount counts: shown as JSON in .headrace/stats and in the log line at the end.
#pragma once

#include <cstdint>
#include <string>

#include "cache/disk_store.h"
#include "sys/metrics.h"

namespace headrace::mount {

struct MountStats {
  Counter lookups, lookups_asked;  // by the kernel; of those, that the store was asked for
  Counter listings, list_objects;  // folders or trees listed; objects seen in them
  Counter hidden_keys;             // objects that cannot be files (docs/mount.md)
  Counter opens, reads, read_bytes;
  Counter fetches, fetched_bytes;  // GETs and their bytes
  Counter waits;                   // reads that had to wait for the store
  Counter plan_files, plan_fetched, plan_hits, plan_dropped, plan_overtaken;
  Counter uploads, uploaded_bytes, uploads_aborted;
  Counter eio, estale;
  Counter evicted_bytes, evicted_unread_bytes;
};

// What the counters do not hold.
struct MountGauges {
  uint64_t memory_bytes_max = 0, memory_bytes = 0, memory_bytes_peak = 0;
  uint64_t metadata_bytes = 0, nodes = 0, plan_waiting = 0, plan_ahead_bytes = 0;
};

// `store`, `disk`: may be null.
std::string stats_json(const MountStats& stats, const StoreMetrics* store, const DiskStore* disk,
                       const MountGauges& gauges);

}  // namespace headrace::mount
