// SPDX-License-Identifier: Apache-2.0
//
// The indexer of a shard whose samples' borders are known before it is read: it reads all for checksums, or nothing.
#pragma once

#include <memory>

#include "format/indexer.h"

namespace headrace {

// `found` has samples, stride, borders and fields.
std::unique_ptr<Indexer> make_bordered_indexer(ShardIndex found, uint64_t object_size, bool crc);

}  // namespace headrace
