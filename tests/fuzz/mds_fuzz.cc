// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as index.json, as a shard, as samples and as a dynamic ndarray. What is accepted is
// consistent: a parsed schema survives its own text, an indexed shard does not depend on how its
// bytes came.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/endian.h"
#include "format/mds.h"

using namespace headrace;

namespace {

MdsSchema fixed_schema() {
  return {{{"a", *parse_mds_encoding("int")},
           {"b", *parse_mds_encoding("str")},
           {"c", *parse_mds_encoding("ndarray:uint8:3")},
           {"d", *parse_mds_encoding("bytes")}}};
}

Result<ShardIndex> indexed(std::string_view shard, uint64_t samples, uint64_t chunk, bool crc) {
  const MdsShard entry{.basename = "s", .bytes = shard.size(), .samples = samples, .hashes = {}};
  const auto indexer =
      make_mds_indexer(entry, fixed_schema(), shard.size(), {.stride = 2, .crc = crc});
  auto step = indexer->next({});
  while (step.ok() && !step->done) {
    const uint64_t n = std::min(chunk, step->need.size());
    step = indexer->next(as_bytes(shard.substr(step->need.begin, n)));
  }
  if (!step.ok()) return step.status();
  return std::move(*step->done);
}

void fuzz_index(Bytes json) {
  const auto index = parse_mds_index(json);
  if (!index.ok()) return;
  HR_ASSERT(!index->shards.empty() && mds_shard_entries(*index).size() == index->shards.size());
  const auto again = MdsSchema::from_json(index->schema.json());
  if (again.ok()) HR_ASSERT(again->columns.size() == index->schema.columns.size());
}

void fuzz_shard(std::string_view shard) {
  const uint64_t samples = shard.size() < 4 ? 0 : load_le<uint32_t>(shard.data());
  const auto whole = indexed(shard, samples, UINT64_MAX, true);
  const auto parts = indexed(shard, samples, 5, true);
  const auto table = indexed(shard, samples, 7, false);
  HR_ASSERT(whole.ok() == parts.ok());
  if (!whole.ok()) return;
  HR_ASSERT(whole->borders == parts->borders && whole->crcs == parts->crcs);
  HR_ASSERT(table.ok() && table->borders == whole->borders);
}

void fuzz_cutter(Bytes bytes, uint64_t rows) {
  static const MdsCutter cutter(fixed_schema());
  SampleBatchView batch;
  if (!cutter.cut(bytes, rows, batch).ok()) {
    HR_ASSERT(batch.empty());
    return;
  }
  uint64_t total = 0;
  for (size_t i = 0; i < batch.size(); ++i) {
    total += 8;  // two lengths
    for (const FieldView& f : batch[i].fields) total += f.bytes.size();
  }
  HR_ASSERT(batch.size() == rows && total == bytes.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 2, size - 2);
  const Bytes bytes = as_bytes(text);
  switch (data[0] % 4) {
    case 0:
      fuzz_index(bytes);
      break;
    case 1:
      fuzz_shard(text);
      break;
    case 2:
      fuzz_cutter(bytes, data[1]);
      break;
    default: {
      const auto encoding = parse_mds_encoding(data[1] % 2 ? "ndarray" : "ndarray:int16");
      const auto array = read_mds_ndarray(bytes, *encoding);
      if (array.ok()) HR_ASSERT(array->values.size() <= bytes.size() && array->ndim <= 63);
      (void)parse_mds_encoding(text);
    }
  }
  return 0;
}
