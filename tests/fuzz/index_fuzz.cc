// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as an index file, with the checksums put right so that the checks behind them are
// reached. What is accepted comes back the same after writing it again, and all its ranges lie
// inside the shards.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/crc32c.h"
#include "base/endian.h"
#include "format/index_file.h"
#include "format/index_layout.h"

using namespace headrace;

namespace {

void put_crc(std::string& file, uint64_t begin, uint64_t end) {  // the last 4 of [begin, end)
  if (end > file.size() || begin > end || end - begin < 4) return;
  const std::string_view content = std::string_view(file).substr(begin, end - begin - 4);
  store_le(file.data() + end - 4, crc32c(as_bytes(content)));
}

// Head, tables, and the pages of each level as the head describes them; and the hashes, which
// nobody hits by chance.
void reseal(std::string& file) {
  if (file.size() < 200) return;
  const uint64_t head = load_le<uint32_t>(file.data() + 12),
                 tables = load_le<uint64_t>(file.data() + 40);
  const bool crc = (load_le<uint32_t>(file.data() + 28) & 1) != 0;
  const uint64_t levels = std::min<uint64_t>(load_le<uint32_t>(file.data() + 92), 4);
  if (head < 100 || head > file.size() || tables > file.size() - head) return;
  put_crc(file, head, head + tables);
  for (uint64_t i = 0; i < levels && 96 + 24 * (i + 1) <= file.size(); ++i) {
    const uint64_t stride = load_le<uint64_t>(file.data() + 96 + 24 * i);
    uint64_t at = load_le<uint64_t>(file.data() + 104 + 24 * i);
    uint64_t left = load_le<uint64_t>(file.data() + 112 + 24 * i);
    for (uint64_t page = 0; at < file.size() && left <= file.size() - at && left > 4; ++page) {
      const uint64_t n =
          std::min(left - 4, index_layout::kPageEntries * index_layout::entry_bytes(crc));
      const Bytes payload = as_bytes(std::string_view(file).substr(at, n));
      store_le(file.data() + at + n, index_layout::page_crc(stride, page, payload));
      at += n + 4;
      left -= n + 4;
    }
  }
  put_crc(file, 0, head);
}

void check(const DatasetIndex& index) {
  for (uint64_t s = 0; s < index.shards().size(); ++s) {
    for (uint64_t k = 0; k < index.strides(s); ++k) {
      HR_ASSERT(!index.stride_range(s, k).empty() &&
                index.stride_range(s, k).end <= index.shards()[s].size);
    }
  }
  const auto again = decode_index(as_bytes(encode_index(index)));
  HR_ASSERT(again.ok() && **again == index);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  std::string file(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] & 1) reseal(file);
  auto head = parse_index_head(as_bytes(std::string_view(file).substr(0, kIndexHeaderBytesMax)));
  if (head.ok() && head->file_bytes == file.size()) {
    const auto part = [&](ByteRange r) {
      return as_bytes(std::string_view(file).substr(r.begin, r.size()));
    };
    for (const IndexLevel& level : head->levels) {
      (void)decode_index(*head, part(head->tables), level, part(level.range));
    }
  }
  const auto index = decode_index(as_bytes(file));
  if (index.ok()) check(**index);
  (void)decode_energon_idx(as_bytes(file), size);
  return 0;
}
