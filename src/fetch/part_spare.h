// SPDX-License-Identifier: Apache-2.0
//
// PartSpare: what a part's read needs to be made twice (store/read_spare.h): memory that is free beyond what is kept
// for the batches being assembled, and the index's checksums.
// Holds nothing of the engine, whose last reference must not be
// given up on a loop's thread; the gate tells the engine when the last memory is back.
#pragma once

#include <memory>
#include <vector>

#include "fetch/segment.h"
#include "store/range_spare.h"

namespace headrace {

class PartSpare final : public ReadSpare {
 public:
  PartSpare(std::shared_ptr<const SpareMemory> memory, std::shared_ptr<const DatasetIndex> index, const Part& part);

  std::shared_ptr<const MutableBytes> take(uint64_t bytes) override;
  void verify(ByteRange range, std::vector<MutableBytes> bytes, UniqueFunction<void(bool)> done) override;

 private:
  const std::shared_ptr<const SpareMemory> memory_;
  const std::shared_ptr<const DatasetIndex> index_;
  const uint64_t shard_;
  const uint64_t stride_begin_, stride_end_;
  const ByteRange range_;
};

}  // namespace headrace
