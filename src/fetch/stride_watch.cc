// SPDX-License-Identifier: Apache-2.0
#include "fetch/stride_watch.h"

#include <algorithm>

#include "base/crc32c.h"

namespace headrace {

StrideWatch::StrideWatch(std::shared_ptr<const DatasetIndex> index, uint64_t shard, uint64_t row_begin,
                         uint64_t row_end, std::vector<MutableBytes> dst)
    : index_(std::move(index)),
      dst_(std::move(dst)),
      shard_(shard),
      stride_begin_(index_->stride_of_row(row_begin)),
      stride_end_(index_->stride_of_row(row_end - 1) + 1),
      begin_(index_->stride_range(shard, stride_begin_).begin) {
  HR_ASSERT(index_->has_crc());
  start_again();
}

void StrideWatch::start_again() {
  good_ = true;
  next_ = begin_;
  stride_ = stride_begin_;
  crc_ = 0;
  piece_ = offset_ = 0;
}

// A hedge or a cache may receive the same range elsewhere first: those are not the bytes that will be used.
bool StrideWatch::in_place(Bytes bytes) {
  while (piece_ < dst_.size() && offset_ == dst_[piece_].size()) ++piece_, offset_ = 0;
  if (piece_ == dst_.size()) return false;
  const MutableBytes place = dst_[piece_].subspan(offset_);
  if (bytes.data() != place.data() || bytes.size() > place.size()) return false;
  offset_ += bytes.size();
  return true;
}

void StrideWatch::on_bytes(uint64_t at, Bytes bytes) {
  if (at == begin_) start_again();  // the first attempt, or another one from the beginning
  if (!good_) return;
  good_ = at == next_ && in_place(bytes);
  while (good_ && !bytes.empty()) {
    if (stride_ == stride_end_) {
      good_ = false;
      return;
    }
    const uint64_t end = index_->stride_range(shard_, stride_).end;
    const size_t n = std::min<uint64_t>(bytes.size(), end - next_);
    crc_ = crc32c(bytes.first(n), crc_);
    next_ += n;
    bytes = bytes.subspan(n);
    if (next_ != end) continue;
    good_ = crc_ == index_->stride_crc(shard_, stride_);
    crc_ = 0;
    ++stride_;
  }
}

}  // namespace headrace
