// SPDX-License-Identifier: Apache-2.0
//
// The text shards of mosaicml-streaming (docs/formats/mosaic-text.md): JSON lines and separated
// values, with an index.json like MDS's. Their .meta files are not read: where lines begin is found
// in the data, which gives the checksums of an index as well.
#pragma once

#include <memory>
#include <string>

#include "format/mds.h"
#include "format/sample.h"
#include "format/shard_format.h"

namespace headrace {

// kMosaicJson or kMosaicXsv.
std::shared_ptr<const ShardFormat> make_mosaic_text_format(MdsIndex index);
// The columns and marks as an index keeps them, without shards.
std::string mosaic_text_schema(const MdsIndex& index);
Result<MdsIndex> mosaic_text_from_schema(Format format, const std::string& json);

// A line of values. No quoting, no escapes: a value holds neither separator nor newline.
class XsvCutter final : public Cutter {
 public:
  explicit XsvCutter(MdsIndex index);
  Status cut(Bytes bytes, uint64_t rows, SampleBatchView& out) const override;
  Status find_rows(const CutPlace& place, Bytes bytes, uint64_t rows, std::vector<uint32_t>& begins) const override;

 private:
  Status cut_line(std::string_view line, SampleBatchView& out) const;

  const MdsIndex index_;
  const std::string line_field_;
};

}  // namespace headrace
