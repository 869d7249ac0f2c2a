// SPDX-License-Identifier: Apache-2.0
//
// What a fetch of blocks needs to be made twice when it is late (store/read_spare.h): memory that is free, beyond a
// quarter of the budget which stays so. Whether bytes are good cannot be told here; who gets them checks.
#pragma once

#include <memory>

#include "store/read_spare.h"
#include "sys/budget.h"
#include "sys/buffer_source.h"
#include "sys/executor.h"

namespace headrace {

class DiskSpare final : public ReadSpare {
 public:
  DiskSpare(std::shared_ptr<BufferSource> buffers, std::shared_ptr<Budget> budget, TimedExecutor& executor)
      : buffers_(std::move(buffers)), budget_(std::move(budget)), executor_(executor) {}

  std::shared_ptr<const MutableBytes> take(uint64_t bytes) override {
    const uint64_t most = budget_->bytes_max() - budget_->bytes_max() / 4;
    if (budget_->used() + buffers_->charge(bytes) > most) return nullptr;
    auto held = std::make_shared<Held>(buffers_, buffers_->take(bytes));
    if (!held->buffer) return nullptr;
    return {held, &held->bytes};
  }
  void verify(ByteRange, std::vector<MutableBytes>, UniqueFunction<void(bool)> done) override {
    executor_.post([done = std::move(done)]() mutable { done(true); });
  }

 private:
  struct Held {
    Held(std::shared_ptr<BufferSource> from, Buffer taken)
        : source(std::move(from)), buffer(std::move(taken)), bytes(buffer.bytes()) {}
    const std::shared_ptr<BufferSource> source;  // outlives the buffer
    Buffer buffer;
    const MutableBytes bytes;
  };
  const std::shared_ptr<BufferSource> buffers_;
  const std::shared_ptr<Budget> budget_;
  TimedExecutor& executor_;
};

}  // namespace headrace
