// SPDX-License-Identifier: Apache-2.0
#include "fetch/part_spare.h"

namespace headrace {
namespace {

// `bytes` in one piece, or a piece a stride.
bool are_good(const DatasetIndex& index, uint64_t shard, uint64_t stride_begin, uint64_t stride_end,
              const std::vector<MutableBytes>& bytes) {
  if (bytes.size() == 1) return index.verify(shard, stride_begin, stride_end - stride_begin, bytes[0]).ok();
  if (bytes.size() != stride_end - stride_begin) return true;  // cannot be told
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (!index.verify(shard, stride_begin + i, 1, bytes[i]).ok()) return false;
  }
  return true;
}

}  // namespace

PartSpare::PartSpare(std::shared_ptr<const SpareMemory> memory, std::shared_ptr<const DatasetIndex> index,
                     const Part& part)
    : memory_(std::move(memory)),
      index_(std::move(index)),
      shard_(part.shard),
      stride_begin_(index_->stride_of_row(part.row_begin)),
      stride_end_(index_->stride_of_row(part.row_end - 1) + 1),
      range_(part.range) {}

std::shared_ptr<const MutableBytes> PartSpare::take(uint64_t bytes) { return take_spare(memory_, bytes); }

void PartSpare::verify(ByteRange range, std::vector<MutableBytes> bytes, UniqueFunction<void(bool)> done) {
  const bool whole = range == range_ && index_->has_crc();
  memory_->workers->post([index = index_, shard = shard_, begin = stride_begin_, end = stride_end_, whole,
                          bytes = std::move(bytes), done = std::move(done)]() mutable {
    done(!whole || are_good(*index, shard, begin, end, bytes));
  });
}

}  // namespace headrace
