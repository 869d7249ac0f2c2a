// SPDX-License-Identifier: Apache-2.0
//
// UnitSource: what the engine must know of a data set whose samples are decoded a unit at a time: what to read for a
// unit, how much memory it takes once decoded, and the decoding. One object for a stream (it knows which columns are
// wanted). Decoding may run Python: it is called on UnitSource::executor() only, never on a loop or a worker that
// other formats wait for.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "format/unit_codec.h"
#include "format/unit_rows.h"
#include "plan/shard_counts.h"
#include "sys/executor.h"

namespace headrace {

class UnitSource {
 public:
  virtual ~UnitSource() = default;

  // Samples of each unit, in stored order.
  virtual const ShardCounts& counts() const = 0;
  // Where a unit lies.
  struct Place {
    uint64_t shard = 0;
    uint64_t row = 0;  // of the unit's first sample in the shard
    ByteRange range;   // of the object, around what is read; for messages
  };
  virtual Place place(uint64_t unit) const = 0;
  struct Need {
    std::vector<UnitRead> reads;
    uint64_t read_bytes = 0;
    uint64_t buffer_bytes = 0;   // where they go, and what the decoder needs beside them
    uint64_t decoded_bytes = 0;  // of the unit's columns, as far as is known before
  };
  virtual Need need(uint64_t unit) const = 0;
  virtual uint64_t sample_bytes_mean() const = 0;  // decoded; >= 1

  // The unit's samples from its buffer, which is scratch from here on and needed afterwards only by rows that are
  // in_place(): it must outlive them unchanged. kCorrupt: the bytes are not what they should be. Blocking.
  virtual Result<std::shared_ptr<const UnitRows>> decode(uint64_t unit, MutableBytes buffer) const = 0;
  virtual Executor& executor() const = 0;

  // What a unit that does not fit in memory should be told: the writer's option that makes smaller ones.
  virtual std::string smaller_units_hint() const = 0;
};

}  // namespace headrace
