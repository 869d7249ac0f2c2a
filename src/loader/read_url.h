// SPDX-License-Identifier: Apache-2.0
//
// One small object by its URL, whole: manifests. Data are read by a Dataset.
#pragma once

#include <cstdint>
#include <stop_token>
#include <string>

#include "base/result.h"
#include "loader/store_options.h"

namespace headrace {

// kExhausted when it is larger than `bytes_max`; checked against the store's checksum where there is one. Blocking.
Result<std::string> read_url(const std::string& url, const StoreOptions& options, uint64_t bytes_max,
                             std::stop_token stop);

}  // namespace headrace
