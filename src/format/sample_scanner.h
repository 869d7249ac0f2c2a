// SPDX-License-Identifier: Apache-2.0
//
// SampleScanner: where the samples of a shard begin and end, found while its plain bytes come by
// from front to back, whatever their number. For shards that are read whole; an Indexer does the
// same for an index. Holds a header at most: whoever feeds it keeps the bytes from keep_from() on.
// Strict: a cut, a damaged header, bytes that belong to no sample are errors.
#pragma once

#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "base/result.h"

namespace headrace {

// Where a scanner begins: at the shard's front, or at any sample.
struct ScanStart {
  uint64_t begin = 0;  // plain byte
  uint64_t row = 0;    // of the sample that begins there
  // A larger sample is kExhausted as soon as that is known, before its bytes are kept.
  uint64_t sample_bytes_max = 0;
};

class SampleScanner {
 public:
  virtual ~SampleScanner() = default;
  struct Step {
    size_t used = 0;                  // of `bytes`
    std::optional<ByteRange> sample;  // is complete
  };
  // `bytes`: from at() on. Stops where a sample is known to be complete, perhaps behind its end.
  virtual Result<Step> next(Bytes bytes) = 0;
  // The shard ends here: its last sample, if that was not given yet. kCorrupt: inside one.
  virtual Result<std::optional<ByteRange>> finish() = 0;

  virtual uint64_t at() const = 0;
  // Bytes before it are not needed for any sample that is still to come.
  virtual uint64_t keep_from() const = 0;
};

}  // namespace headrace
