// SPDX-License-Identifier: Apache-2.0
//
// StrideWatch: computes the CRCs of the strides of one read while its bytes arrive. Bytes that have just been received
// are in the cache, where a CRC-32C costs 0.01 CPU-s/GB; read again from memory later they cost 0.1.
//
// It only ever says yes: where it has not seen every byte at its place, in order, whoever asks must read the memory.
// So a store that does not call its watch, or a read that was put together from several answers, costs time and no
// safety.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "format/dataset_index.h"
#include "store/object_store.h"

namespace headrace {

class StrideWatch final : public ReadWatch {
 public:
  // Of the bytes of rows [row_begin, row_end) of a shard, whole strides, which land in `dst`. The index has CRCs.
  StrideWatch(std::shared_ptr<const DatasetIndex> index, uint64_t shard, uint64_t row_begin, uint64_t row_end,
              std::vector<MutableBytes> dst);

  void on_bytes(uint64_t at, Bytes bytes) override;

  // All of `dst` was seen as it was written, and each stride has the CRC that the index says. To be asked when the
  // read is over.
  bool all_good() const { return good_ && stride_ == stride_end_; }

 private:
  void start_again();
  bool in_place(Bytes bytes);

  const std::shared_ptr<const DatasetIndex> index_;
  const std::vector<MutableBytes> dst_;
  const uint64_t shard_;
  const uint64_t stride_begin_, stride_end_;
  const uint64_t begin_;
  bool good_ = true;
  uint64_t next_ = 0;    // offset in the object of the byte that comes next
  uint64_t stride_ = 0;  // its stride
  uint32_t crc_ = 0;     // of what was seen of it
  size_t piece_ = 0;     // its place: in dst_[piece_]
  size_t offset_ = 0;
};

}  // namespace headrace
