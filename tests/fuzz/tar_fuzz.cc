// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as a tar: the indexer's answer does not depend on how the bytes are cut into calls, and
// what it indexes without an error can be cut, sample by sample and all at once, into the samples
// and checksums it counted.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>

#include "base/crc32c.h"
#include "format/webdataset.h"

using namespace headrace;

namespace {

// Mutations rarely hit a header checksum, so blocks that look like headers get the right one.
void repair_checksums(std::string& tar) {
  for (size_t at = 0; at + 512 <= tar.size(); at += 512) {
    if (tar.compare(at + 257, 5, "ustar") != 0) continue;
    tar.replace(at + 148, 8, 8, ' ');
    unsigned sum = 0;
    for (size_t i = 0; i < 512; ++i) sum += static_cast<uint8_t>(tar[at + i]);
    char text[16];
    std::snprintf(text, sizeof text, "%06o", sum);
    tar.replace(at + 148, 7, text, 7);
  }
}

Result<ShardIndex> indexed(const std::string& tar, uint64_t chunk, IndexerOptions options) {
  const auto indexer = make_tar_indexer(tar.size(), options);
  auto step = indexer->next({});
  while (step.ok() && !step->done) {
    const uint64_t n = std::min(chunk, step->need.size());
    step = indexer->next(as_bytes(std::string_view(tar).substr(step->need.begin, n)));
  }
  if (!step.ok()) return step.status();
  return std::move(*step->done);
}

void cut_all(const std::string& tar, const ShardIndex& found) {
  const WebDatasetCutter cutter(found.fields);
  SampleBatchView batch;
  for (size_t k = 0; k + 1 < found.borders.size(); ++k) {
    const uint64_t rows = std::min(found.stride, found.samples - k * found.stride);
    const uint64_t bytes = found.borders[k + 1] - found.borders[k];
    const Bytes stride = as_bytes(std::string_view(tar).substr(found.borders[k], bytes));
    HR_ASSERT(crc32c(stride) == found.crcs[k]);
    const size_t before = batch.size();
    HR_ASSERT(cutter.cut(stride, rows, batch).ok());
    HR_ASSERT(batch.size() == before + rows);
  }
  HR_ASSERT(batch.size() == found.samples);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const uint64_t chunk = 1 + data[0] % 128 * uint64_t{17};
  const uint64_t stride = uint64_t{1} << data[1] % 3;
  std::string tar(reinterpret_cast<const char*>(data) + 2, size - 2);
  if (data[0] & 0x80) repair_checksums(tar);
  const auto whole = indexed(tar, UINT64_MAX, {.stride = stride});
  const auto parts = indexed(tar, chunk, {.stride = stride});
  HR_ASSERT(whole.ok() == parts.ok());
  if (!whole.ok()) {
    HR_ASSERT(whole.status() == parts.status());
    return 0;
  }
  HR_ASSERT(whole->borders == parts->borders && whole->crcs == parts->crcs);
  HR_ASSERT(whole->fields == parts->fields && whole->checksum == parts->checksum);
  const auto jumped = indexed(tar, 512, {.stride = stride, .crc = false});
  HR_ASSERT(jumped.ok() && jumped->borders == whole->borders);
  cut_all(tar, *whole);
  SampleBatchView batch;  // any bytes may come to the cutter when there are no checksums
  (void)WebDatasetCutter({}).cut(as_bytes(tar), data[1], batch);
  return 0;
}
