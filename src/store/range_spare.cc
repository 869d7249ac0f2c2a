// SPDX-License-Identifier: Apache-2.0
#include "store/range_spare.h"

namespace headrace {
namespace {

struct Held {
  Held(std::shared_ptr<const SpareMemory> from, Buffer taken)
      : memory(std::move(from)), buffer(std::move(taken)), bytes(buffer.bytes()) {}
  const std::shared_ptr<const SpareMemory> memory;
  Buffer buffer;
  const MutableBytes bytes;
  ~Held() {
    buffer = {};
    memory->gate->leave();
  }
};

}  // namespace

std::shared_ptr<const MutableBytes> take_spare(const std::shared_ptr<const SpareMemory>& memory, uint64_t bytes) {
  const Budget& budget = *memory->budget;
  const uint64_t charge = memory->buffers->charge(bytes);
  const uint64_t headroom = memory->headroom_bytes->load(std::memory_order_relaxed);
  if (budget.used() + headroom + charge > budget.bytes_max()) return nullptr;
  if (!memory->gate->enter()) return nullptr;
  auto held = std::make_shared<Held>(memory, memory->buffers->take(bytes));
  if (!held->buffer) return nullptr;
  return {held, &held->bytes};
}

void RangeSpare::verify(ByteRange, std::vector<MutableBytes>, UniqueFunction<void(bool)> done) {
  memory_->workers->post([done = std::move(done)]() mutable { done(true); });
}

}  // namespace headrace
