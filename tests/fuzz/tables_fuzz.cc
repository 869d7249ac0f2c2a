// SPDX-License-Identifier: Apache-2.0
//
// Tables that say where samples lie beside or before them: Megatron's .idx, LitData's directory of frames, chunks of
// tokens. What is accepted is inside the object, and rows lie one behind another.
#include <algorithm>
#include <cstdlib>
#include <string>

#include "base/endian.h"
#include "format/litdata.h"
#include "format/token_documents.h"
#include "format/zstd_frame.h"

using namespace headrace;

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

Result<ShardIndex> indexed(const ShardFormat& format, std::string_view object, uint64_t chunk, bool crc) {
  const auto indexer = format.indexer(0, {.key = "c", .size = object.size()}, {.stride = 1, .crc = crc});
  auto step = indexer->next({});
  while (step.ok() && !step->done) {
    const uint64_t n = std::min<uint64_t>(chunk, step->need.size());
    step = indexer->next(as_bytes(object.substr(step->need.begin, n)));
  }
  if (!step.ok()) return step.status();
  return std::move(*step->done);
}

void fuzz_chunk(const ShardFormat& format, std::string_view object) {
  const auto whole = indexed(format, object, UINT64_MAX, true), parts = indexed(format, object, 3, true);
  require(whole.ok() == parts.ok());
  if (!whole.ok()) return;
  require(whole->borders == parts->borders && whole->crcs == parts->crcs);
  require(std::ranges::is_sorted(whole->borders) && whole->borders.back() <= object.size());
  const auto cutter = format.cutter({});
  SampleBatchView view;
  const uint64_t rows = std::min(whole->stride, whole->samples);
  if (rows == 0) return;
  const std::string_view first = object.substr(whole->borders[0], whole->borders[1] - whole->borders[0]);
  const auto frame = first_zstd_frame(as_bytes(first));
  if (frame.ok() && frame->plain_bytes > 1 << 20) return;  // no bombs here
  if (cutter->cut(as_bytes(first), rows, view).ok()) require(view.size() == rows);
}

void fuzz_idx(Bytes bytes) {
  const auto idx = parse_megatron_idx(bytes, bytes.empty() ? 0 : uint64_t{bytes.size()} % 64);
  if (!idx.ok()) return;
  for (TokenSamples what : {TokenSamples::kWindow, TokenSamples::kPacked, TokenSamples::kSequence, TokenSamples::kDocument}) {
    TokenSchema schema;
    schema.samples = what;
    schema.window = 5;
    const TokenRows rows = token_rows(*idx, schema);
    require(std::ranges::is_sorted(rows.ends) && std::ranges::is_sorted(rows.marks));
    require(rows.ends.empty() || rows.ends.back() <= idx->ends.back());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  const std::string_view object(reinterpret_cast<const char*>(data) + 1, size - 1);
  fuzz_idx(as_bytes(object));
  LitDataIndex index = *LitDataIndex::from_schema(R"({"leaves": ["a", "b"], "data_format": ["int", "numpy"]})");
  index.chunks.push_back({.basename = "c.bin", .bytes = 0, .samples = data[0] % 16u});
  for (LitDataFraming framing : {LitDataFraming::kSample, LitDataFraming::kBatch}) {
    index.framing = framing;
    fuzz_chunk(*make_litdata_format(index), object);
  }
  return 0;
}
