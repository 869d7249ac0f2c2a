// SPDX-License-Identifier: Apache-2.0
//
// Reading SHARD.idx, Megatron-Energon's offsets beside a tar or a JSON-lines file.
#include <cstring>

#include "format/index_file.h"

namespace headrace {

Result<std::vector<uint64_t>> decode_energon_idx(Bytes file, uint64_t object_size) {
  if (file.size() < 8 || file.size() % 8 != 0) {
    return corrupt("read .idx: " + std::to_string(file.size()) +
                   " bytes are not a list of 64-bit numbers");
  }
  std::vector<uint64_t> borders(file.size() / 8);
  std::memcpy(borders.data(), file.data(), file.size());
  for (size_t i = 1; i < borders.size(); ++i) {
    if (borders[i] <= borders[i - 1]) {
      return corrupt("read .idx: offset " + std::to_string(i) + " does not increase");
    }
  }
  if (borders.back() > object_size) {
    return corrupt("read .idx: it ends at byte " + std::to_string(borders.back()) +
                   ", the object has " + std::to_string(object_size));
  }
  return borders;
}

}  // namespace headrace
