// SPDX-License-Identifier: Apache-2.0
#include "store/scatter.h"

#include <algorithm>

namespace headrace {

uint64_t scatter_bytes(const std::vector<MutableBytes>& dst) {
  uint64_t total = 0;
  for (const MutableBytes& piece : dst) total += piece.size();
  return total;
}

std::vector<MutableBytes> scatter_slice(const std::vector<MutableBytes>& dst, uint64_t skip, uint64_t size) {
  std::vector<MutableBytes> rest;
  rest.reserve(dst.size());
  for (const MutableBytes& piece : dst) {
    if (size == 0) break;
    if (skip >= piece.size()) {
      skip -= piece.size();
      continue;
    }
    const uint64_t take = std::min<uint64_t>(piece.size() - skip, size);
    rest.push_back(piece.subspan(skip, take));
    skip = 0;
    size -= take;
  }
  return rest;
}

void scatter_copy(const std::vector<MutableBytes>& dst, Bytes from) {
  for (const MutableBytes& piece : dst) {
    const size_t take = std::min(piece.size(), from.size());
    if (take == 0) continue;
    std::memcpy(piece.data(), from.data(), take);
    from = from.subspan(take);
  }
  HR_ASSERT(from.empty());
}

}  // namespace headrace
