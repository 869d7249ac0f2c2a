// SPDX-License-Identifier: Apache-2.0
#include "store/ask_checksum.h"

namespace headrace {

void ask_checksum(ObjectStore& store, std::string key, std::string etag, uint64_t size,
                  UniqueFunction<void(std::shared_ptr<const StoredChecksum>)> done, std::stop_token stop) {
  if (etag.empty()) return done(nullptr);
  store.head(
      std::move(key),
      [etag = std::move(etag), size, done = std::move(done)](Result<ObjectMeta> meta) mutable {
        const bool same = meta.ok() && meta->etag == etag && meta->size == size;
        done(same ? std::move(meta->checksum) : nullptr);
      },
      std::move(stop));
}

}  // namespace headrace
