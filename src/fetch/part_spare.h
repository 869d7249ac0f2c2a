// SPDX-License-Identifier: Apache-2.0
//
// PartSpare: what a part's read needs to be made twice (store/read_spare.h): memory that is free beyond what is kept for
// the batches being assembled, and the index's checksums. Holds nothing of the engine, whose last reference must not be
// given up on a loop's thread; the gate tells the engine when the last memory is back.
#pragma once

#include <memory>
#include <vector>

#include "fetch/segment.h"
#include "store/read_spare.h"
#include "sys/budget.h"
#include "sys/buffer_source.h"
#include "sys/executor.h"
#include "sys/gate.h"

namespace headrace {

// The same for all parts of an engine.
struct SpareMemory {
  std::shared_ptr<BufferSource> buffers;
  std::shared_ptr<Budget> budget;
  uint64_t headroom_bytes = 0;  // stays free
  Executor* workers = nullptr;
  std::shared_ptr<Gate> gate;
};

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
