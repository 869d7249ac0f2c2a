// SPDX-License-Identifier: Apache-2.0
//
// RangeSpare: what any read needs to be made twice (read_spare.h) when nobody can tell its bytes from wrong ones before
// they are decoded: memory that is free beyond what others were promised. Whoever has checksums of ranges has a
// ReadSpare of its own over the same memory (fetch/part_spare.h).
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "store/read_spare.h"
#include "sys/budget.h"
#include "sys/buffer_source.h"
#include "sys/executor.h"
#include "sys/gate.h"

namespace headrace {

// The same for all reads of one reader. The gate tells it when the last memory is back.
struct SpareMemory {
  std::shared_ptr<BufferSource> buffers;
  std::shared_ptr<Budget> budget;
  std::shared_ptr<const std::atomic<uint64_t>> headroom_bytes;  // stay free
  Executor* workers = nullptr;
  std::shared_ptr<Gate> gate;
};

// ReadSpare::take().
std::shared_ptr<const MutableBytes> take_spare(const std::shared_ptr<const SpareMemory>& memory, uint64_t bytes);

class RangeSpare final : public ReadSpare {
 public:
  explicit RangeSpare(std::shared_ptr<const SpareMemory> memory) : memory_(std::move(memory)) {}

  std::shared_ptr<const MutableBytes> take(uint64_t bytes) override { return take_spare(memory_, bytes); }
  void verify(ByteRange range, std::vector<MutableBytes> bytes, UniqueFunction<void(bool)> done) override;

 private:
  const std::shared_ptr<const SpareMemory> memory_;
};

}  // namespace headrace
