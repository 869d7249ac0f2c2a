// SPDX-License-Identifier: Apache-2.0
//
// Segment: what one lane reads of one block at a stretch, as the engine holds it: which of its samples this rank still
// wants, and the parts (one range GET each) that bring them or have brought them. Engine thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "fetch/piece.h"
#include "fetch/stride_watch.h"
#include "format/dataset_index.h"
#include "format/unit_codec.h"
#include "plan/shard_counts.h"
#include "sys/clock.h"

namespace headrace {

struct Segment;

// One range GET and the pieces it fills. Rows are rounded out to strides.
struct Part {
  Segment* segment = nullptr;  // nullptr once the engine no longer wants it
  uint32_t source = 0;
  uint64_t shard = 0;
  uint64_t row_begin = 0, row_end = 0;
  uint64_t sample_first = 0;  // sample number of row_begin
  ByteRange range;                // of a unit: around what is read
  std::optional<uint64_t> unit;   // decoded as a whole
  std::vector<UnitRead> reads;    // of a unit, instead of one range
  size_t reads_left = 0;
  uint64_t bytes = 0;             // that are read: range.size(), or those of `reads`
  Status failure;                 // of one of several reads
  bool scattered = false;  // one piece a sample (a null piece is a hole: not wanted, or delivered)
  bool cut_late = false;   // few of its rows are wanted: each is cut when a batch asks for it
  bool ready = false;
  uint32_t rereads = 0;
  bool sent = false;
  uint32_t due = 0;               // the batch (by number) that it is read for
  TimePoint sent_at{};
  std::shared_ptr<StrideWatch> watch;  // of the read under way
  std::vector<std::shared_ptr<Piece>> pieces;
  std::vector<Buffer> holes;      // of a scattered part: where bytes between wanted samples go, in order
  std::vector<uint64_t> waiting;  // batches (by number) that have rows here, each once
  uint64_t planned = 0;           // rows planned from here and not yet handed over

  bool covers(uint64_t sample) const {
    if (sample < sample_first || sample - sample_first >= row_end - row_begin) return false;
    return !scattered || pieces[sample - sample_first] != nullptr;
  }
  std::shared_ptr<Piece>& piece_of(uint64_t sample) {
    return scattered ? pieces[sample - sample_first] : pieces[0];
  }
};

struct Segment {
  uint32_t source = 0;
  uint64_t epoch = 0;
  uint64_t id = 0;
  uint64_t rows_left = 0;      // wanted or planned, and not yet handed over; 0 = the segment is done
  uint64_t last_position = 0;  // of the latest row planned from here: the larger, the later the next one comes
  std::vector<uint64_t> samples;  // delivery order
  std::vector<bool> wanted;       // by index: this rank will come for it, and no row for it is planned yet
  std::vector<std::shared_ptr<Part>> parts;  // in no order

  Part* part_of(uint64_t sample) const {
    for (const auto& part : parts) {
      if (part->covers(sample)) return part.get();
    }
    return nullptr;
  }
};

// A range to read: rows [row_begin, row_end) of a shard, of which `samples` are wanted.
struct RowRun {
  uint64_t shard = 0;
  uint64_t row_begin = 0, row_end = 0;
  std::vector<uint64_t> samples;  // ascending
  std::optional<uint64_t> unit;   // the rows are this unit's
};

// Cuts ascending sample numbers into runs, rounded out to strides: a new run at a shard's border and where the bytes
// between two wanted samples exceed `gap_bytes_max`. Pure.
std::vector<RowRun> row_runs(const std::vector<uint64_t>& samples, const DatasetIndex& index,
                             const ShardCounts& counts, uint64_t gap_bytes_max);

class UnitSource;
// The units of ascending sample numbers. Pure.
std::vector<RowRun> unit_runs(const std::vector<uint64_t>& samples, const UnitSource& units);

}  // namespace headrace
