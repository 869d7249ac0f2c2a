// SPDX-License-Identifier: Apache-2.0
#include "device/cuda_driver.h"

#include <dlfcn.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <mutex>

namespace headrace {
namespace {

// The oldest driver that is tried: 11.0. What came later is optional (cuda_abi.h).
constexpr int kVersionMin = 11000;

std::atomic<pid_t> loaded_in{0};
std::atomic<bool> stopped{false};

using GetProcAddress = cuda::Code (*)(const char* symbol, void** address, int version, uint64_t flags, int* status);

struct Wanted {
  const char* name;      // without suffix, as cuGetProcAddress wants it
  const char* exported;  // as the library exports the prototype of cuda_abi.h
  int version;           // that brought this prototype
  bool optional;
};

// In the order of cuda::Api.
constexpr Wanted kWanted[] = {
    {"cuInit", "cuInit", 2000, false},
    {"cuDriverGetVersion", "cuDriverGetVersion", 2020, false},
    {"cuDeviceGetCount", "cuDeviceGetCount", 2000, false},
    {"cuDeviceGet", "cuDeviceGet", 2000, false},
    {"cuDeviceGetName", "cuDeviceGetName", 2000, false},
    {"cuDeviceGetAttribute", "cuDeviceGetAttribute", 2000, false},
    {"cuDevicePrimaryCtxRetain", "cuDevicePrimaryCtxRetain", 7000, false},
    {"cuCtxPushCurrent", "cuCtxPushCurrent_v2", 4000, false},
    {"cuCtxPopCurrent", "cuCtxPopCurrent_v2", 4000, false},
    {"cuCtxSynchronize", "cuCtxSynchronize", 2000, false},
    {"cuCtxGetStreamPriorityRange", "cuCtxGetStreamPriorityRange", 5050, false},
    {"cuStreamCreateWithPriority", "cuStreamCreateWithPriority", 5050, false},
    {"cuStreamDestroy", "cuStreamDestroy_v2", 4000, false},
    {"cuStreamWaitEvent", "cuStreamWaitEvent", 3020, false},
    {"cuStreamSynchronize", "cuStreamSynchronize", 2000, false},
    {"cuEventCreate", "cuEventCreate", 2000, false},
    {"cuEventRecord", "cuEventRecord", 2000, false},
    {"cuEventSynchronize", "cuEventSynchronize", 2000, false},
    {"cuMemAlloc", "cuMemAlloc_v2", 3020, false},
    {"cuMemFree", "cuMemFree_v2", 3020, false},
    {"cuMemHostRegister", "cuMemHostRegister_v2", 6050, false},
    {"cuMemHostUnregister", "cuMemHostUnregister", 4000, false},
    {"cuMemcpyHtoDAsync", "cuMemcpyHtoDAsync_v2", 3020, false},
    {"cuMemcpyDtoHAsync", "cuMemcpyDtoHAsync_v2", 3020, false},
    {"cuMemcpyDtoDAsync", "cuMemcpyDtoDAsync_v2", 3020, false},
    {"cuGetErrorName", "cuGetErrorName", 6000, false},
    {"cuMemPoolCreate", "cuMemPoolCreate", 11020, true},
    {"cuMemPoolSetAttribute", "cuMemPoolSetAttribute", 11020, true},
    {"cuMemAllocFromPoolAsync", "cuMemAllocFromPoolAsync", 11020, true},
    {"cuMemFreeAsync", "cuMemFreeAsync", 11020, true},
    // Of 12.8: 13.0 changed the arguments under the same name, so only the versioned look-up may give it.
    {"cuMemcpyBatchAsync", nullptr, 12080, true},
};
static_assert(sizeof(cuda::Api) == sizeof(kWanted) / sizeof(kWanted[0]) * sizeof(void*));

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

// Of a broken context: every later call gives it again, whatever was called.
bool is_sticky(cuda::Code code) { return (code >= 700 && code < 720) || code == 214 || code == 220; }

}  // namespace

bool CudaDriver::has_pools() const {
  return api_.pool_create && api_.pool_set_attribute && api_.pool_alloc && api_.free_async;
}

Status CudaDriver::check(cuda::Code code, const std::string& action) const {
  if (code == cuda::kSuccess) return {};
  const char* name = nullptr;
  if (api_.error_name(code, &name) != cuda::kSuccess || name == nullptr) name = "an unknown CUDA error";
  const std::string text = action + ": " + name + " (" + std::to_string(code) + ")";
  if (code == cuda::kOutOfMemory) return exhausted(text + "; the GPU's memory is full: use a smaller batch or model");
  if (is_sticky(code)) {
    return unavailable(text + "; the GPU's context is broken, by whatever ran on it before: restart the process (to "
                              "find the kernel: CUDA_LAUNCH_BLOCKING=1, compute-sanitizer)");
  }
  if (code == cuda::kNoDevice || code == cuda::kInvalidDevice) {
    return unsupported(text + "; see nvidia-smi and CUDA_VISIBLE_DEVICES");
  }
  if (code == cuda::kDeinitialized) return cancelled(text + "; the process is ending");
  return unavailable(text);
}

Status CudaDriver::resolve(void* library) {
  // Its version by name first: a table of function pointers is read as one array.
  const auto versioned = reinterpret_cast<GetProcAddress>(::dlsym(library, "cuGetProcAddress_v2"));
  auto** slots = reinterpret_cast<void**>(&api_);
  for (size_t i = 0; i < std::size(kWanted); ++i) {
    const Wanted& wanted = kWanted[i];
    void* found = nullptr;
    if (versioned != nullptr) {
      int status = 0;
      if (versioned(wanted.name, &found, wanted.version, 0, &status) != cuda::kSuccess) found = nullptr;
    }
    if (found == nullptr && wanted.exported != nullptr) found = ::dlsym(library, wanted.exported);
    if (found == nullptr && !wanted.optional) {
      return unsupported(std::string("load the CUDA driver: it has no ") + wanted.name +
                         "; headrace needs a driver of CUDA " + version_text(kVersionMin) + " or later");
    }
    slots[i] = found;
  }
  return {};
}

Status CudaDriver::start() {
  const cuda::Code code = api_.init(0);
  if (code == cuda::kNoDevice) {
    return unsupported("start CUDA: there is no GPU (CUDA_ERROR_NO_DEVICE); see nvidia-smi and CUDA_VISIBLE_DEVICES");
  }
  if (code == cuda::kSystemDriverMismatch) {
    return unsupported("start CUDA: libcuda and the kernel's driver are of different versions "
                       "(CUDA_ERROR_SYSTEM_DRIVER_MISMATCH); in a container: start it anew after a driver update");
  }
  HR_TRY(check(code, "start CUDA"));
  HR_TRY(check(api_.driver_version(&version_), "ask for the driver's version"));
  if (version_ < kVersionMin) {
    return unsupported("start CUDA: the driver is of CUDA " + version_text(version_) + ", headrace needs " +
                       version_text(kVersionMin) + " or later; update the NVIDIA driver");
  }
  HR_TRY(check(api_.device_count(&devices_), "count the GPUs"));
  if (devices_ < 1) return unsupported("start CUDA: there is no GPU; see nvidia-smi and CUDA_VISIBLE_DEVICES");
  return {};
}

Result<std::unique_ptr<CudaDriver>> CudaDriver::open() {
  const char* given = std::getenv("HEADRACE_CUDA_LIB");
  const char* name = given != nullptr && *given != 0 ? given : "libcuda.so.1";
  // Local: its names must not shadow another library's. Never unloaded: its threads would run on into nothing.
  void* library = ::dlopen(name, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) {
    const char* cause = ::dlerror();
    return unsupported(std::string("load the CUDA driver: ") + (cause ? cause : name) +
                       "; is an NVIDIA driver installed, and is the container started with its GPUs?");
  }
  std::unique_ptr<CudaDriver> driver(new CudaDriver);
  HR_TRY(driver->resolve(library));
  HR_TRY(driver->start());
  return Result<std::unique_ptr<CudaDriver>>(std::move(driver));
}

Result<const CudaDriver*> CudaDriver::load() {
  const pid_t owner = loaded_in.load();
  if (owner != 0 && owner != ::getpid()) {
    return precondition_failed("use a GPU in a forked process: CUDA does not survive a fork; start workers with "
                               "multiprocessing's 'spawn', or make the loader only in the child");
  }
  static std::mutex mutex;
  static Result<std::unique_ptr<CudaDriver>>* found = nullptr;  // leaked: threads may outlive static destructors
  std::lock_guard lock(mutex);
  if (found == nullptr) {
    found = new Result<std::unique_ptr<CudaDriver>>(open());
    if (found->ok()) loaded_in.store(::getpid());  // a failure may be tried again in a child
  }
  if (!found->ok()) return found->status();
  return (*found)->get();
}

bool cuda_usable() { return !stopped.load() && loaded_in.load() == ::getpid(); }

void cuda_stop() {
  if (loaded_in.load() == ::getpid()) stopped.store(true);
}

}  // namespace headrace
