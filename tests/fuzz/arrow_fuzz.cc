// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as an Arrow file or stream, and as a message's metadata: an index does not depend on how the bytes came, its
// batches lie inside the object, and a batch's small stream is indexed like the whole.
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "format/arrow_ipc.h"
#include "format/unit_table.h"

using namespace headrace;

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

Result<ShardIndex> indexed(std::string_view object, uint64_t chunk) {
  const auto indexer = make_arrow_indexer({0, object.size()});
  auto step = indexer->next({});
  while (step.ok() && !step->done) {
    require(!step->need.empty() && step->need.end <= object.size());
    const uint64_t n = std::min<uint64_t>(chunk, step->need.size());
    step = indexer->next(as_bytes(object.substr(step->need.begin, n)));
  }
  if (!step.ok()) return step.status();
  return std::move(*step->done);
}

void check_units(std::string_view object, const UnitFile& file) {
  const auto codec = *UnitCodec::make(file.schema);
  for (const UnitGroup& group : file.groups) {
    if (group.rows == 0) continue;
    const UnitLayout layout = codec->lay_out(group, 0, group.rows, {0}, 0);
    if (layout.buffer_bytes > 1 << 20) continue;
    std::vector<std::byte> buffer(layout.buffer_bytes);
    for (const UnitRead& read : layout.reads) {
      require(read.range.end <= object.size() && read.at + read.range.size() <= buffer.size());
      std::memcpy(buffer.data() + read.at, object.data() + read.range.begin, read.range.size());
    }
    const auto again = indexed(as_text(codec->small_file(group, layout, layout.parts[0], 0, group.rows, buffer)), 64);
    require(again.ok() && again->samples == group.rows);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view object(reinterpret_cast<const char*>(data), size);
  static_cast<void>(parse_arrow_message(as_bytes(object)).ok());
  static_cast<void>(parse_arrow_schema(as_bytes(object)).ok());
  const auto whole = indexed(object, UINT64_MAX), parts = indexed(object, 5);
  require(whole.ok() == parts.ok());
  if (!whole.ok()) return 0;
  require(*whole->units == *parts->units && whole->samples == whole->units->rows());
  for (const UnitGroup& group : whole->units->groups) {
    for (const UnitChunk& chunk : group.chunks) require(chunk.end() <= size);
  }
  check_units(object, *whole->units);
  return 0;
}
