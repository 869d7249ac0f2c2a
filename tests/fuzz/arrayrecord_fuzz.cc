// SPDX-License-Identifier: Apache-2.0
//
// ArrayRecord: any bytes as a file's tail, as chunks at any place, and as payloads and footers in chunks whose hashes
// are right. What is indexed lies inside the file and rises; what is cut has the records that were put in.
#include <algorithm>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "format/array_record.h"
#include "format/riegeli.h"
#include "format/testing_index.h"
#include "format/testing_riegeli.h"

using namespace headrace;

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

const ShardFormat& format() {
  static const auto made = *shard_format(Format::kArrayRecord, "");
  return *made;
}

Result<ShardIndex> indexed(std::string_view file, uint64_t step, bool crc) {
  ShardEntry entry;
  entry.size = file.size();
  return testing::run_indexer(*format().indexer(0, entry, {.stride = 4, .crc = crc}), file, step);
}

// A file whose footer and postscript are these bytes, in good chunks.
std::string file_of(std::string_view footer, std::string_view postscript) {
  std::string file = testing::chunk_bytes(0, {'s', 0, 0, ""});
  file += testing::chunk_bytes(64, testing::simple_chunk({"abc"}));
  std::vector<std::string> records;
  for (; !footer.empty(); footer.remove_prefix(std::min<size_t>(footer.size(), 12))) {
    records.emplace_back(footer.substr(0, 12));
  }
  file += testing::chunk_bytes(file.size(), testing::simple_chunk(records));
  const auto pad = [&file] {
    while (kRiegeliBlockBytes - file.size() % kRiegeliBlockBytes < kRiegeliChunkHeadBytes) {
      file += testing::chunk_bytes(file.size(), {'p', 0, 0, ""});
    }
    const uint64_t end = (file.size() / kRiegeliBlockBytes + 1) * kRiegeliBlockBytes;
    if (file.size() % kRiegeliBlockBytes != 0) file += testing::padding(file.size(), end);
  };
  pad();
  file += testing::chunk_bytes(file.size(), testing::simple_chunk({std::string(postscript)}));
  pad();
  return file;
}

void fuzz_index(std::string_view file) {
  const auto found = indexed(file, UINT64_MAX, false);
  if (!found.ok()) return;
  require(std::ranges::is_sorted(found->borders) && found->borders.back() <= file.size());
  const auto parts = indexed(file, 5'001, true);
  require(!parts.ok() || parts->borders == found->borders);  // it sees more, and may refuse more
}

// Where rows are told apart there are as many as were asked for, and each alone is what it is among all. True: they were.
bool fuzz_rows(uint64_t at, Bytes bytes, uint64_t rows) {
  const auto cutter = format().cutter({});
  std::vector<uint32_t> begins;
  if (!cutter->find_rows({0, 0, at}, bytes, rows, begins).ok()) return false;
  require(begins.size() == rows && (rows == 0 || (begins[0] == 0 && begins.back() < bytes.size())));
  require(std::ranges::adjacent_find(begins, std::greater_equal()) == begins.end());
  SampleBatchView all;
  if (!cutter->cut_at({0, 0, at}, bytes, rows, all).ok()) return true;
  require(all.size() == rows);
  for (size_t i = 0; i < rows; ++i) {
    const size_t end = i + 1 < rows ? begins[i + 1] : bytes.size();
    SampleBatchView one;
    require(cutter->cut_at({0, i, at + begins[i]}, bytes.subspan(begins[i], end - begins[i]), 1, one).ok());
    require(one.size() == 1 && as_text(one[0].fields.back().bytes) == as_text(all[i].fields.back().bytes));
  }
  return true;
}

void fuzz_chunk(uint64_t at, Bytes bytes) {
  const auto chunk = read_riegeli_head(at, bytes);
  SampleBatchView view;
  if (chunk.ok()) {
    require(chunk->range.begin == at && chunk->range.end >= at + kRiegeliChunkHeadBytes);
    std::vector<Bytes> records;
    if (chunk->records < 4'096) static_cast<void>(read_riegeli_records(*chunk, bytes, view, records).ok());
  }
  static_cast<void>(format().cutter({})->cut_at({0, 0, at}, bytes, 3, view).ok());
  for (uint64_t rows : {0, 1, 3}) fuzz_rows(at, bytes, rows);
  static_cast<void>(format().learned_at({{at, std::string(as_text(bytes))}}).ok());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 3) return 0;
  const std::string_view given(reinterpret_cast<const char*>(data) + 3, size - 3);
  // A chunk somewhere near the end of a block, of any type, whose hashes are right.
  uint64_t at = kRiegeliBlockBytes - 128 + data[0];
  while (!is_riegeli_border(at)) ++at;
  const testing::ChunkSpec spec{"rrrrstmp"[data[1] % 8], data[2] % 16u, uint64_t{data[1]} / 8 * 3, std::string(given)};
  fuzz_chunk(at, as_bytes(testing::chunk_bytes(at, spec)));
  fuzz_chunk(at, as_bytes(given));

  const std::vector<std::string> records = {std::string(given.substr(0, given.size() / 2)), "x"};
  const std::string good = testing::chunk_bytes(at, testing::simple_chunk(records));
  SampleBatchView view;
  require(format().cutter({})->cut_at({0, 0, at}, as_bytes(good), 2, view).ok() && view.size() == 2);
  require(as_text(view[0].fields.back().bytes) == records[0]);

  std::string apart;
  for (const std::string& record : records) {
    apart += testing::chunk_bytes(at + apart.size(), testing::simple_chunk({record}));
  }
  require(fuzz_rows(at, as_bytes(apart), 2) && !fuzz_rows(at, as_bytes(apart), 1));

  fuzz_index(given);
  const size_t cut = std::min<size_t>(given.size(), data[2]);
  const std::string postscript = "\x08\x6e\x10\xde\xc0\xeb\xfe\x84\xce\xc3\xc9\x71";  // behind the chunk of one record
  fuzz_index(file_of(given, postscript));
  fuzz_index(file_of(given.substr(cut), given.substr(0, cut)));
  return 0;
}
