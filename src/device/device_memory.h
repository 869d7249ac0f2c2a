// SPDX-License-Identifier: Apache-2.0
//
// Memory of the GPU that headrace owns and frameworks borrow (DLPack): blocks that are given back when the last array
// over them is gone, and only behind everything that consumers had queued by then. A block may be dropped on any
// thread, with or without Python's lock, and after the interpreter's end: dropping posts, the copier's threads do the
// rest.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "base/unique_function.h"
#include "device/cuda_copier.h"

namespace headrace {

class DeviceBlock {
 public:
  // `retire` is told, once, the streams that the block was used on.
  using Retire = UniqueFunction<void(cuda::DevicePtr at, std::vector<uintptr_t> streams)>;
  DeviceBlock(cuda::DevicePtr at, uint64_t size, Retire retire) : at_(at), size_(size), retire_(std::move(retire)) {}
  ~DeviceBlock() { retire_(at_, std::move(streams_)); }
  DeviceBlock(const DeviceBlock&) = delete;

  cuda::DevicePtr at() const { return at_; }
  uint64_t size() const { return size_; }
  // What is queued on `stream` while the block lives may use it.
  void used_on(uintptr_t stream);

 private:
  const cuda::DevicePtr at_;
  const uint64_t size_;
  Retire retire_;
  std::mutex mutex_;
  std::vector<uintptr_t> streams_;
};

class DeviceMemory {
 public:
  // The device's one.
  static Result<DeviceMemory*> of(CudaCopier& copier);

  // `bytes` > 0, aligned to 256. To be written on the copier's stream. kExhausted: the GPU is full.
  Result<std::shared_ptr<DeviceBlock>> take(uint64_t bytes);

  // Events behind what is queued now on `streams`. False: for some stream that is not possible (it is gone, or belongs
  // to a thread); then only the whole context can be waited for. On a thread with the context current.
  static bool record_all(CudaDevice& device, const std::vector<uintptr_t>& streams, std::vector<cuda::Event>& events);

 private:
  explicit DeviceMemory(CudaCopier& copier) : copier_(copier) {}
  Status start();
  void drop_stream();
  Status allocate(uint64_t bytes, cuda::DevicePtr& at);
  void retire(cuda::DevicePtr at, const std::vector<uintptr_t>& streams);
  void free_behind(cuda::DevicePtr at, std::vector<cuda::Event> events);

  CudaCopier& copier_;
  cuda::Pool pool_ = nullptr;  // null: the driver has none
  cuda::Stream freeing_ = nullptr;
};

}  // namespace headrace
