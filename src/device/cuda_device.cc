// SPDX-License-Identifier: Apache-2.0
#include "device/cuda_device.h"

#include <array>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>

namespace headrace {

int numa_node_of(const std::string& root, const std::string& pci) {
  std::ifstream file(root + "/" + pci + "/numa_node");
  int node = -1;
  if (!(file >> node)) return -1;
  return node;
}

Result<CudaDevice*> CudaDevice::open(int ordinal) {
  HR_TRY_ASSIGN(const CudaDriver* driver, CudaDriver::load());
  if (ordinal < 0 || ordinal >= driver->devices()) {
    return invalid_argument("open cuda:" + std::to_string(ordinal) + ": this process sees " +
                            std::to_string(driver->devices()) +
                            " GPU(s), counted from 0; see CUDA_VISIBLE_DEVICES and LOCAL_RANK");
  }
  static std::mutex mutex;
  static auto* devices = new std::map<int, CudaDevice*>;  // leaked, with the contexts
  std::lock_guard lock(mutex);
  CudaDevice*& device = (*devices)[ordinal];
  if (device == nullptr) {
    std::unique_ptr<CudaDevice> made(new CudaDevice(*driver, ordinal));
    HR_TRY(made->start());
    device = made.release();
  }
  return device;
}

Status CudaDevice::start() {
  const std::string what = "open cuda:" + std::to_string(ordinal_);
  cuda::Device handle = 0;
  HR_TRY(driver_.check(api().device_get(&handle, ordinal_), what));
  std::array<char, 256> text{};
  HR_TRY(driver_.check(api().device_name(text.data(), static_cast<int>(text.size()), handle), what));
  name_.assign(text.data(), ::strnlen(text.data(), text.size()));
  int pools = 0;
  if (driver_.has_pools() && api().device_attribute(&pools, cuda::kAttributeMemoryPools, handle) == cuda::kSuccess) {
    has_pools_ = pools != 0;
  }
  int domain = 0, bus = 0, slot = 0;
  const bool placed = api().device_attribute(&domain, cuda::kAttributePciDomain, handle) == cuda::kSuccess &&
                      api().device_attribute(&bus, cuda::kAttributePciBus, handle) == cuda::kSuccess &&
                      api().device_attribute(&slot, cuda::kAttributePciDevice, handle) == cuda::kSuccess;
  if (placed) {
    std::snprintf(text.data(), text.size(), "%04x:%02x:%02x.0", static_cast<unsigned>(domain),
                  static_cast<unsigned>(bus), static_cast<unsigned>(slot));
    numa_node_ = numa_node_of("/sys/bus/pci/devices", text.data());
  }
  // Never released: torch does the same, and a context that goes while a kernel runs takes the process with it.
  return driver_.check(api().primary_context_retain(&context_, handle), what);
}

CudaDevice::Current::Current(const CudaDevice& device) : device_(device) {
  if (!cuda_usable()) {
    status_ = cancelled("use cuda:" + std::to_string(device.ordinal()) +
                        ": this process is ending, or was forked after CUDA was started");
    return;
  }
  status_ = device.driver_.check(device.api().context_push(device.context_), "make the GPU's context current");
}

CudaDevice::Current::~Current() {
  if (!status_.ok()) return;
  cuda::Context gone = nullptr;
  static_cast<void>(device_.api().context_pop(&gone));  // nothing to do about it
}

Result<cuda::Event> CudaDevice::take_event() {
  {
    std::lock_guard lock(mutex_);
    if (!events_.empty()) {
      const cuda::Event event = events_.back();
      events_.pop_back();
      return event;
    }
  }
  cuda::Event event = nullptr;
  HR_TRY(driver_.check(api().event_create(&event, cuda::kEventBlockingSync | cuda::kEventDisableTiming),
                       "make an event"));
  return event;
}

void CudaDevice::give_event(cuda::Event event) {
  std::lock_guard lock(mutex_);
  events_.push_back(event);
}

}  // namespace headrace
