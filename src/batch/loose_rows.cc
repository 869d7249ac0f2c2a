// SPDX-License-Identifier: Apache-2.0
#include "batch/loose_rows.h"

#include <numeric>

#include "base/stream_copy.h"
#include "batch/column.h"

namespace headrace {

JoinedRows::JoinedRows(const Column& column, const LooseRows& from) {
  const uint64_t size = std::accumulate(column.rows.begin(), column.rows.end(), uint64_t{0},
                                        [](uint64_t sum, Bytes row) { return sum + row.size(); });
  from.wish->ask_joined();
  slot_ = from.slots->take(size);
  if (slot_) {
    slot_.detach();
    bytes_ = slot_.bytes().first(size);
  } else {
    own_ = std::make_unique_for_overwrite<std::byte[]>(size);
    bytes_ = {own_.get(), size};
  }
  std::byte* to = bytes_.data();
  for (const Bytes row : column.rows) {
    stream_copy(to, row.data(), row.size());
    to += row.size();
  }
}

}  // namespace headrace
