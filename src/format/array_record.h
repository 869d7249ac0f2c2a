// SPDX-License-Identifier: Apache-2.0
//
// ArrayRecord files (docs/formats/arrayrecord.md): Riegeli files of simple chunks with `group_size` records each, a
// footer chunk that says where the chunks lie, and a postscript that says where the footer is. A chunk is a stride of
// the index, or one record of many where group_size is 1. Payloads are taken apart as those of TFRecord are.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "format/shard_format.h"
#include "format/tfrecord.h"

namespace headrace {

inline constexpr uint64_t kArrayRecordMagic = 0x71930e704fdae05e;

// Where the footer chunk begins, by the last block of a file, which begins at byte `at`. kCorrupt.
Result<uint64_t> parse_array_record_postscript(uint64_t at, Bytes block);

struct ArrayRecordFooter {
  uint64_t records = 0;
  uint64_t group = 1;            // records of each chunk; the last one may have fewer
  std::vector<uint64_t> chunks;  // where they begin, ascending
};
// The footer chunk at byte `at`, of which `bytes` are. kCorrupt, kUnsupported, kExhausted.
Result<ArrayRecordFooter> parse_array_record_footer(uint64_t at, Bytes bytes);

// Reads the postscript and the footer; with options.crc the whole object once, from front to back, and then each chunk
// has to be where the footer says.
std::unique_ptr<Indexer> make_array_record_indexer(uint64_t object_size, std::vector<FieldEntry> fields,
                                                   IndexerOptions options);

class ArrayRecordCutter final : public Cutter {
 public:
  explicit ArrayRecordCutter(TfSchema schema) : payloads_(std::move(schema)) {}
  // As if the bytes began at the front of a block.
  Status cut(Bytes bytes, uint64_t rows, SampleBatchView& out) const override { return cut_at({}, bytes, rows, out); }
  Status cut_at(const CutPlace& place, Bytes bytes, uint64_t rows, SampleBatchView& out) const override;
  // By the heads of the chunks; kUnsupported where one has several records.
  Status find_rows(const CutPlace& place, Bytes bytes, uint64_t rows, std::vector<uint32_t>& begins) const override;

 private:
  const TfRecordCutter payloads_;
};

std::shared_ptr<const ShardFormat> make_array_record_format(TfSchema schema);

}  // namespace headrace
