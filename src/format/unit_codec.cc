// SPDX-License-Identifier: Apache-2.0
//
// The one place that knows which codec a schema wants.
#include "format/unit_codec.h"

#include <algorithm>

#include "format/arrow_ipc.h"
#include "format/parquet_unit.h"

namespace headrace {
namespace {

constexpr uint64_t kReadBytesMax = 8 << 20;  // a longer run is several requests: 100 ms each at 80 MB/s

}  // namespace

uint64_t add_reads(ByteRange range, uint64_t at, std::vector<UnitRead>& reads) {
  while (!range.empty()) {
    const uint64_t end = std::min(range.end, range.begin + kReadBytesMax);
    reads.push_back({{range.begin, end}, at});
    at += end - range.begin;
    range.begin = end;
  }
  return at;
}

Result<std::shared_ptr<const UnitCodec>> UnitCodec::make(const std::string& schema) {
  return is_arrow_schema(schema) ? make_arrow_codec(schema) : make_parquet_codec(schema);
}

}  // namespace headrace
