// SPDX-License-Identifier: Apache-2.0
//
// What a store knows of the content of an object that was listed: one HEAD. Knows nothing of how bytes are checked
// against it (stored_checksum.h).
#pragma once

#include <memory>
#include <stop_token>
#include <string>

#include "base/unique_function.h"
#include "store/object_store.h"

namespace headrace {

// `done` gets null when the store cannot say, or speaks of another object than the one with this ETag and size: reading
// finds that out. It runs where a head()'s completion does; inside the call when `etag` is empty.
void ask_checksum(ObjectStore& store, std::string key, std::string etag, uint64_t size,
                  UniqueFunction<void(std::shared_ptr<const StoredChecksum>)> done, std::stop_token stop);

// Whether checking against it costs little beside reading (docs/integrity.md has the rates): the CRCs.
inline bool is_cheap(const StoredChecksum& stored) { return stored.algorithm.starts_with("CRC"); }

}  // namespace headrace
