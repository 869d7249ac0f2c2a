// SPDX-License-Identifier: Apache-2.0
//
// The checksums that object stores keep of whole objects, beside CRC-32C: CRC-64/NVME (which AWS computes of every
// object by itself) and CRC-32 (ISO-HDLC, of zip and Ethernet).
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace headrace {

// The CRC of `data` after the bytes whose CRC is `crc` (0 at the start).
uint64_t crc64nvme(Bytes data, uint64_t crc = 0);   // of "123456789": 0xAE8B14860A799888
uint32_t crc32_ieee(Bytes data, uint32_t crc = 0);  // of "123456789": 0xCBF43926

}  // namespace headrace
