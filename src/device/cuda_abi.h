// SPDX-License-Identifier: Apache-2.0
//
// The part of the CUDA driver's binary interface that headrace calls: types, numbers and prototypes written down from
// the driver API's documentation, so that building needs no CUDA toolkit. Nothing here calls anything: cuda_driver.h
// loads the library.
//
// Numbers of enumerations are part of the ABI and never change; functions are named with the version suffix whose
// prototype stands here.
#pragma once

#include <cstddef>
#include <cstdint>

namespace headrace::cuda {

using DevicePtr = unsigned long long;
using Device = int;
using Code = int;  // CUresult
struct ContextBody;
struct StreamBody;
struct EventBody;
struct PoolBody;
using Context = ContextBody*;
using Stream = StreamBody*;
using Event = EventBody*;
using Pool = PoolBody*;

inline constexpr Code kSuccess = 0, kInvalidValue = 1, kOutOfMemory = 2, kNotInitialized = 3, kDeinitialized = 4,
                      kNoDevice = 100, kInvalidDevice = 101, kInvalidContext = 201, kInvalidHandle = 400,
                      kNotFound = 500, kNotReady = 600, kIllegalAddress = 700, kLaunchFailed = 719,
                      kNotPermitted = 800, kNotSupported = 801, kSystemNotReady = 802, kSystemDriverMismatch = 803;

// Streams without an object: the legacy default stream and the per-thread one.
inline constexpr uintptr_t kStreamLegacy = 1, kStreamPerThread = 2;

inline constexpr unsigned kStreamNonBlocking = 1;
inline constexpr unsigned kEventBlockingSync = 1, kEventDisableTiming = 2;
inline constexpr unsigned kHostRegisterPortable = 1;
inline constexpr int kAttributePciDomain = 50, kAttributePciBus = 33, kAttributePciDevice = 34,
                     kAttributeMemoryPools = 115;
inline constexpr int kPoolReleaseThreshold = 4;
inline constexpr int kAllocationPinned = 1, kLocationDevice = 1;
// Order in which a batched copy reads its sources: as the stream comes to it.
inline constexpr int kSourceOrderStream = 1;

struct Location {
  int type = 0;  // 0: no hint
  int id = 0;
};
struct PoolProperties {  // CUmemPoolProps
  int allocation_type = kAllocationPinned;
  int handle_types = 0;
  Location location;
  void* win32_security = nullptr;
  size_t bytes_max = 0;
  unsigned short usage = 0;
  unsigned char reserved[54] = {};
};
static_assert(sizeof(PoolProperties) == 88);
struct CopyAttributes {  // CUmemcpyAttributes
  int source_order = kSourceOrderStream;
  Location source_hint;
  Location target_hint;
  unsigned flags = 0;
};
static_assert(sizeof(CopyAttributes) == 24);

// The driver's functions. Those after the mark may be missing in older drivers and are null then.
struct Api {
  Code (*init)(unsigned flags);
  Code (*driver_version)(int* version);
  Code (*device_count)(int* count);
  Code (*device_get)(Device* device, int ordinal);
  Code (*device_name)(char* name, int length, Device device);
  Code (*device_attribute)(int* value, int attribute, Device device);
  Code (*primary_context_retain)(Context* context, Device device);
  Code (*context_push)(Context context);
  Code (*context_pop)(Context* context);
  Code (*context_synchronize)();
  Code (*stream_priority_range)(int* least, int* greatest);
  Code (*stream_create)(Stream* stream, unsigned flags, int priority);
  Code (*stream_destroy)(Stream stream);
  Code (*stream_wait_event)(Stream stream, Event event, unsigned flags);
  Code (*stream_synchronize)(Stream stream);
  Code (*event_create)(Event* event, unsigned flags);
  Code (*event_record)(Event event, Stream stream);
  Code (*event_synchronize)(Event event);
  Code (*mem_alloc)(DevicePtr* at, size_t bytes);
  Code (*mem_free)(DevicePtr at);
  Code (*host_register)(void* at, size_t bytes, unsigned flags);
  Code (*host_unregister)(void* at);
  Code (*copy_to_device)(DevicePtr target, const void* source, size_t bytes, Stream stream);
  Code (*copy_to_host)(void* target, DevicePtr source, size_t bytes, Stream stream);
  Code (*copy_on_device)(DevicePtr target, DevicePtr source, size_t bytes, Stream stream);
  Code (*error_name)(Code code, const char** name);
  // Optional.
  Code (*pool_create)(Pool* pool, const PoolProperties* properties);                                // 11.2
  Code (*pool_set_attribute)(Pool pool, int attribute, void* value);                                // 11.2
  Code (*pool_alloc)(DevicePtr* at, size_t bytes, Pool pool, Stream stream);                        // 11.2
  Code (*free_async)(DevicePtr at, Stream stream);                                                  // 11.2
  Code (*copy_batch)(DevicePtr* targets, DevicePtr* sources, size_t* sizes, size_t count, CopyAttributes* attributes,
                     size_t* attribute_starts, size_t attribute_count, size_t* fail_index, Stream stream);  // 12.8
};

}  // namespace headrace::cuda
