// SPDX-License-Identifier: Apache-2.0
#include "cache/future_uses.h"

#include <algorithm>

namespace headrace {

FutureUses FutureUses::Builder::finish() && {
  FutureUses out;
  for (auto& [hash, blocks] : uses_) {
    Object& object = out.objects_[hash];
    object.first.reserve(blocks.size() + 1);
    for (std::vector<uint32_t>& times : blocks) {
      object.first.push_back(static_cast<uint32_t>(object.times.size()));
      std::ranges::sort(times);
      object.times.insert(object.times.end(), times.begin(), times.end());
    }
    object.first.push_back(static_cast<uint32_t>(object.times.size()));
    blocks = {};
  }
  uses_.clear();
  return out;
}

uint32_t FutureUses::next_after(const Hash128& object, uint32_t block, uint32_t time) const {
  const auto it = objects_.find(object);
  if (it == objects_.end() || block + size_t{1} >= it->second.first.size()) return kNever;
  const Object& found = it->second;
  const auto begin = found.times.begin() + found.first[block], end = found.times.begin() + found.first[block + 1];
  const auto next = std::upper_bound(begin, end, time);
  return next == end ? kNever : *next;
}

}  // namespace headrace
