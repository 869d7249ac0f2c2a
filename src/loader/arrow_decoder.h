// SPDX-License-Identifier: Apache-2.0
//
// ArrowDecoder: the library that decodes Parquet and Arrow bytes into columns. The core has none: Python's pyarrow is
// registered by python/src when the headrace package finds it, a C++ program may register another one.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "format/arrow_abi.h"

namespace headrace {

class ArrowDecoder {
 public:
  virtual ~ArrowDecoder() = default;
  // Loads the library. kUnsupported, saying what to install, where it is not there. Before the first decode.
  virtual Status prepare() const = 0;
  // The table of a whole small Parquet file, as one struct array, its columns copied out of `file`. May take the GIL
  // and be called from several threads. kCorrupt where the bytes are wrong.
  virtual Result<ArrowTable> decode_parquet(Bytes file) const = 0;
  // The same of these columns of an Arrow IPC stream of one record batch. Where they are most of it and not compressed,
  // the table is in_place(): nothing was copied.
  virtual Result<ArrowTable> decode_stream(Bytes stream, const std::vector<std::string>& columns) const = 0;
};

// Process-wide; the last one given is used by data sets opened from then on.
void set_arrow_decoder(std::shared_ptr<const ArrowDecoder> decoder);
std::shared_ptr<const ArrowDecoder> arrow_decoder();  // null: none

}  // namespace headrace
