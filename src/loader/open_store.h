// SPDX-License-Identifier: Apache-2.0
//
// The one place that picks concrete stores: s3://, gs://, https:// = transports + S3 client in their dialect + retries,
// file:// = the file system; a disk cache over any of them.
#pragma once

#include <memory>
#include <string>

#include "cache/disk_store.h"
#include "loader/data_url.h"
#include "loader/runtime.h"
#include "loader/store_options.h"
#include "store/object_store.h"
#include "sys/metrics.h"

namespace headrace {

struct OpenedStore {
  std::shared_ptr<ObjectStore> store;      // keeps the runtime and its transports alive
  std::shared_ptr<StoreMetrics> metrics;
  std::string place;                       // endpoint and bucket, without secrets: whose objects they are
  std::shared_ptr<DiskStore> disk;         // `store` where options.cache_dir is given, else null
};

// The store that holds `url`'s bucket (or the file system).
Result<OpenedStore> open_store(const DataUrl& url, const StoreOptions& options, std::shared_ptr<Runtime> runtime);

// `opened` with what it reads kept in options.cache_dir, when that is not empty; kInvalidArgument, kPermission if the
// folder is not to be used. A disk that fails only costs the cache: `opened` as it is, and a warning.
Result<OpenedStore> with_disk_cache(OpenedStore opened, const StoreOptions& options, std::shared_ptr<Runtime> runtime,
                                    bool planned);

// Does this process know CAs to trust when no option names them (environment, the system's bundles)?
bool knows_trusted_cas();

}  // namespace headrace
