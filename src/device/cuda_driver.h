// SPDX-License-Identifier: Apache-2.0
//
// The CUDA driver, loaded with dlopen when somebody first asks for a device: one build serves machines with and
// without a GPU. Nothing is touched at import, and nothing in a forked child: a driver that its parent initialised does
// not work there, and the error says so instead.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "device/cuda_abi.h"

namespace headrace {

class CudaDriver {
 public:
  // Loads libcuda.so.1 (tests: the library that HEADRACE_CUDA_LIB names) and initialises it, once a process; a failure
  // is remembered. kUnsupported: no driver, too old, or no device; kPrecondition: in a forked child.
  static Result<const CudaDriver*> load();

  const cuda::Api& api() const { return api_; }
  int version() const { return version_; }  // 12080 is 12.8
  int devices() const { return devices_; }
  bool has_pools() const;
  bool has_batch_copy() const { return api_.copy_batch != nullptr; }

  // Ok for kSuccess, else "action: CUDA_ERROR_... (700)" and what to do.
  Status check(cuda::Code code, const std::string& action) const;

 private:
  CudaDriver() = default;
  static Result<std::unique_ptr<CudaDriver>> open();
  Status resolve(void* library);
  Status start();

  cuda::Api api_{};
  int version_ = 0;
  int devices_ = 0;
};

// False in a process that was forked after the driver was loaded, and after cuda_stop(): nothing of CUDA may be called.
bool cuda_usable();
// At the interpreter's exit: from now on memory and handles of the device are left to the process's end.
void cuda_stop();

}  // namespace headrace
