// SPDX-License-Identifier: Apache-2.0
//
// CudaDevice: one GPU of this process: its primary context (the one torch, JAX and CuPy use; a second one would cost
// hundreds of MB of its memory), events to use again, and the node of memory it is near to. Kept until the process
// ends, as the context is.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "device/cuda_driver.h"

namespace headrace {

class CudaDevice {
 public:
  // The process's one of this ordinal, counted as CUDA_VISIBLE_DEVICES has it (a MIG instance is a device, too).
  // Fails as CudaDriver::load() does; kInvalidArgument: no such ordinal.
  static Result<CudaDevice*> open(int ordinal);

  const CudaDriver& driver() const { return driver_; }
  const cuda::Api& api() const { return driver_.api(); }
  int ordinal() const { return ordinal_; }
  const std::string& name() const { return name_; }
  int numa_node() const { return numa_node_; }  // -1: one node, or not known
  bool has_pools() const { return has_pools_; }

  // Makes the context this thread's while it lives. status() says whether it could.
  class Current {
   public:
    explicit Current(const CudaDevice& device);
    ~Current();
    Current(const Current&) = delete;
    const Status& status() const { return status_; }

   private:
    const CudaDevice& device_;
    Status status_;
  };

  // An event without timing whose waiting thread sleeps. With the context current.
  Result<cuda::Event> take_event();
  // When nobody will record or wait for it; what already waits is not touched. Any thread.
  void give_event(cuda::Event event);

 private:
  CudaDevice(const CudaDriver& driver, int ordinal) : driver_(driver), ordinal_(ordinal) {}
  Status start();

  const CudaDriver& driver_;
  const int ordinal_;
  std::string name_;
  int numa_node_ = -1;
  bool has_pools_ = false;
  cuda::Context context_ = nullptr;
  std::mutex mutex_;
  std::vector<cuda::Event> events_;
};

// The numa_node of a PCI device ("0000:3b:00.0") under `root` ("/sys/bus/pci/devices"); -1 where it is not said.
int numa_node_of(const std::string& root, const std::string& pci);

}  // namespace headrace
