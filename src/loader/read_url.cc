// SPDX-License-Identifier: Apache-2.0
#include "loader/read_url.h"

#include "loader/data_url.h"
#include "loader/open_store.h"

namespace headrace {

Result<std::string> read_url(const std::string& url, const StoreOptions& options, uint64_t bytes_max,
                             std::stop_token stop) {
  HR_TRY_ASSIGN(const DataUrl parsed, parse_data_url(url));
  HR_TRY_ASSIGN(const OpenedStore opened, open_store(parsed, options, Runtime::shared()));
  HR_TRY_ASSIGN(const ObjectMeta meta, head_now(*opened.store, parsed.key, stop));
  if (meta.size > bytes_max) {
    return exhausted("read " + parsed.text() + ": it has " + std::to_string(meta.size) + " bytes, at most " +
                     std::to_string(bytes_max) + " are read");
  }
  if (meta.size == 0) return std::string();
  return read_object(*opened.store, meta, std::move(stop));
}

}  // namespace headrace
