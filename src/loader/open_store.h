// SPDX-License-Identifier: Apache-2.0
//
// The one place that picks concrete stores: s3://, gs://, https:// = transports + S3 client in their dialect + retries,
// file:// = the file system.
#pragma once

#include <memory>
#include <string>

#include "loader/data_url.h"
#include "loader/runtime.h"
#include "loader/store_options.h"
#include "store/object_store.h"
#include "sys/metrics.h"

namespace headrace {

struct OpenedStore {
  std::shared_ptr<ObjectStore> store;      // keeps the runtime and its transports alive
  std::shared_ptr<StoreMetrics> metrics;
};

// The store that holds `url`'s bucket (or the file system).
Result<OpenedStore> open_store(const DataUrl& url, const StoreOptions& options, std::shared_ptr<Runtime> runtime);

// Does this process know CAs to trust when no option names them (environment, the system's bundles)?
bool knows_trusted_cas();

}  // namespace headrace
