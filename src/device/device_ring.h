// SPDX-License-Identifier: Apache-2.0
//
// DeviceRing: a fixed number of batches' memory on the GPU at addresses that never change: for CUDA graphs, and for a
// strict limit. A slot that somebody still holds is never written to: take() gives nothing then, and holders() says
// who.
#pragma once

#include <string>

#include "device/device_memory.h"
#include "sys/clock.h"

namespace headrace {

class DeviceRing : public std::enable_shared_from_this<DeviceRing> {
 public:
  // Memory for `slots` batches of at most `slot_bytes`. kExhausted: the GPU is full.
  static Result<std::shared_ptr<DeviceRing>> make(CudaCopier& copier, uint32_t slots, uint64_t slot_bytes);
  ~DeviceRing();  // nothing is held any more: blocks hold the ring
  DeviceRing(const DeviceRing&) = delete;

  // The slot that was free longest, and `before`: what must come to pass before it is written (for CopyRequest; the
  // ring keeps the events while the block lives). Empty when all are held. `label` names the batch.
  std::shared_ptr<DeviceBlock> take(std::string label, std::vector<cuda::Event>& before);
  // Returns when a slot is free, or after `wait`.
  bool wait_free(Nanos wait);

  struct Holder {
    std::string label;
    Nanos age;  // since it was taken
  };
  std::vector<Holder> holders() const;  // the oldest first
  uint64_t slot_bytes() const { return slot_bytes_; }

 private:
  struct Slot {
    cuda::DevicePtr at = 0;
    bool held = false;
    uint64_t freed = 0;  // order in which they became free
    std::string label;
    TimePoint taken;
    std::vector<cuda::Event> before;  // behind what still reads it
  };
  DeviceRing(CudaCopier& copier, uint64_t slot_bytes) : copier_(copier), slot_bytes_(slot_bytes) {}
  void retire(size_t index, const std::vector<uintptr_t>& streams);
  bool wait_for_readers(size_t index);
  void free_slot(size_t index, std::vector<cuda::Event> events);

  CudaCopier& copier_;
  const uint64_t slot_bytes_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Slot> slots_;
  uint64_t frees_ = 0;
};

}  // namespace headrace
