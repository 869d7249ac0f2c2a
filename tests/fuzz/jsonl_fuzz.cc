// SPDX-License-Identifier: Apache-2.0
//
// JSON lines: any bytes. The index and the scanner find the same samples however they are cut; what the first lines say
// of the columns can be read back; cutting gives as many samples as there are lines, or an error and nothing.
#include <cstdlib>
#include <string>
#include <vector>

#include "format/jsonl.h"
#include "format/lines.h"

using namespace headrace;

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const size_t step = 1 + data[0] % 64;
  const Bytes text = as_bytes({reinterpret_cast<const char*>(data) + 1, size - 1});

  std::vector<std::string> lines;
  const auto scanner = make_line_scanner({}, {0, 0, 1 << 20});
  const auto take = [&](const ByteRange& r) { lines.emplace_back(as_text(text.subspan(r.begin, r.size()))); };
  for (size_t at = 0; at < text.size();) {
    const auto got = scanner->next(text.subspan(at, std::min(step, text.size() - at)));
    require(got.ok());
    at += got->used;
    if (got->sample) take(*got->sample);
  }
  if (const auto last = scanner->finish(); *last) take(**last);

  const auto indexer = make_line_indexer({}, text.size(), {});
  auto found = indexer->next({});
  while (!found->done) {
    const ByteRange need = found->need;
    found = indexer->next(text.subspan(need.begin, std::min<uint64_t>(step + 7, need.size())));
    require(found.ok());
  }
  require(found->done->samples == lines.size());

  const auto format = (*shard_format(Format::kJsonl, ""))->learned(lines);
  if (!format.ok() || lines.empty()) return 0;
  const auto again = shard_format(Format::kJsonl, (*format)->schema_json());
  require(again.ok() && (*again)->schema_json() == (*format)->schema_json());
  SampleBatchView view;
  const uint64_t begin = found->done->borders[0];
  const bool good = (*again)->cutter({})->cut(text.subspan(begin), lines.size(), view).ok();
  require(view.size() == (good ? lines.size() : 0));
  return 0;
}
