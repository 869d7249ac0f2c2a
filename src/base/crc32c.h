// SPDX-License-Identifier: Apache-2.0
//
// CRC-32C (Castagnoli, RFC 3720 B.4): the checksum of every stride in the sidecar index.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace headrace {

// The CRC of `data` after the bytes whose CRC is `crc` (0 at the start). crc32c("123456789") == 0xE3069283.
uint32_t crc32c(Bytes data, uint32_t crc = 0);

// The CRC of A followed by B, from the CRCs of both and B's length: no bytes needed.
uint32_t crc32c_join(uint32_t crc_a, uint32_t crc_b, uint64_t bytes_b);

}  // namespace headrace
