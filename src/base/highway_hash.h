// SPDX-License-Identifier: Apache-2.0
//
// HighwayHash-64 (google/highwayhash; J. Alakuijala, B. Cox, J. Wassenberg, "Fast keyed hash/pseudo-random function
// using SIMD multiply and permute", 2016): the checksum of Riegeli files. Only whole inputs, only 64 bits.
#pragma once

#include <array>
#include <cstdint>

#include "base/bytes.h"

namespace headrace {

using HighwayKey = std::array<uint64_t, 4>;

uint64_t highway_hash64(const HighwayKey& key, Bytes data);
// The same without vector instructions, for machines that lack them and for tests.
uint64_t highway_hash64_plain(const HighwayKey& key, Bytes data);

}  // namespace headrace
