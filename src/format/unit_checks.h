// SPDX-License-Identifier: Apache-2.0
//
// Checksums of what units are read of: each dictionary and each page of a column chunk (where pages are not known: all
// of its data) has a CRC-32C in UnitChunk::crcs. They are made while the whole object goes by once, and every unit's
// bytes are held against them before they are decoded. Pure.
#pragma once

#include <memory>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "format/unit_codec.h"
#include "format/unit_table.h"

namespace headrace {

// The runs of the object that have a CRC each, in the order of UnitChunk::crcs.
size_t unit_runs(const UnitChunk& chunk);
ByteRange unit_run(const UnitChunk& chunk, size_t i);  // i < unit_runs()

// CRCs of runs of an object whose bytes go by once, from the first to the last.
class RunChecks {
 public:
  // In any order; they may overlap and may come twice.
  explicit RunChecks(std::vector<ByteRange> runs);
  // kCorrupt: more than kRunsOverAByteMax different runs hold the same byte.
  Status update(Bytes bytes);
  // Of a run given at the start, once all of its bytes went by.
  uint32_t crc(ByteRange run) const;

 private:
  struct Run {
    ByteRange range;
    uint32_t crc = 0;
  };
  void take(size_t run, Bytes bytes);

  std::vector<Run> runs_;     // by begin, then end; each once
  std::vector<size_t> open_;  // begun and not ended
  size_t next_ = 0;
  uint64_t at_ = 0;
};

// A run of the object as it was seen when the file's tables were read.
struct SeenRun {
  ByteRange range;
  uint32_t crc = 0;
};

// Makes the checksums of a file whose tables are known. The tables were read before and apart: what they were made of
// has to be the same in this pass.
class UnitFileChecks {
 public:
  UnitFileChecks(std::shared_ptr<const UnitFile> file, std::vector<SeenRun> seen);
  Status update(Bytes bytes) { return runs_.update(bytes); }
  // The file with its checksums, after the object's last byte. kCorrupt: the tables' bytes differ.
  Result<std::shared_ptr<const UnitFile>> finish() const;

 private:
  std::shared_ptr<const UnitFile> file_;
  std::vector<SeenRun> seen_;
  RunChecks runs_;
};

// Holds what was read of a group, `reads` of the object in `buffer`, against the checksums, where there are any: each
// run that lies in it whole. kCorrupt names the run and both values.
Status check_unit(const UnitGroup& group, const std::vector<UnitRead>& reads, Bytes buffer);

}  // namespace headrace
