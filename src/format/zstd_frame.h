// SPDX-License-Identifier: Apache-2.0
//
// Single zstd frames (RFC 8878) that are in memory whole: what LitData puts samples or batches of samples into. Objects
// that are one stream of frames are decoder.h's.
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "base/result.h"

namespace headrace {

// What one frame may become: it is decoded when its samples are cut, beside the budget.
inline constexpr uint64_t kZstdFramePlainMax = 256 << 20;

struct ZstdFrame {
  Bytes stored;
  uint64_t plain_bytes = 0;  // as its header says
};
// The frame that `bytes` begins with. kCorrupt: none, or cut off; kUnsupported: it does not say its plain size;
// kExhausted: more than kZstdFramePlainMax.
Result<ZstdFrame> first_zstd_frame(Bytes bytes);
// Into `out`, of exactly plain_bytes. kCorrupt: it is not what its header says; a checksum is checked if it has one.
Status decode_zstd_frame(const ZstdFrame& frame, MutableBytes out);

}  // namespace headrace
