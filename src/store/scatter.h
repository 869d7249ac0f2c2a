// SPDX-License-Identifier: Apache-2.0
//
// Scatter lists: one run of bytes that lands in several pieces of memory. Owns nothing.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "base/bytes.h"

namespace headrace {

uint64_t scatter_bytes(const std::vector<MutableBytes>& dst);

// At most `size` bytes of `dst` after its first `skip`; what `dst` does not have is left out.
std::vector<MutableBytes> scatter_slice(const std::vector<MutableBytes>& dst, uint64_t skip,
                                        uint64_t size = std::numeric_limits<uint64_t>::max());

// Copies `from` to the front of `dst`, which must have room for it.
void scatter_copy(const std::vector<MutableBytes>& dst, Bytes from);

}  // namespace headrace
