// SPDX-License-Identifier: Apache-2.0
//
// The structures of DLPack 1.0 (dmlc/dlpack, include/dlpack/dlpack.h), as far as an exporter needs them: version 0's
// managed tensor, which JAX wants, and version 1's.
#pragma once

#include <cstdint>

namespace headrace::dlpack {

inline constexpr int32_t kCpu = 1, kCuda = 2;
inline constexpr uint8_t kInt = 0, kUint = 1, kFloat = 2, kBool = 6;
inline constexpr uint64_t kFlagIsCopied = 2;

struct Device {
  int32_t type;
  int32_t id;
};
struct DataType {
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
};
struct Tensor {
  void* data;
  Device device;
  int32_t ndim;
  DataType dtype;
  int64_t* shape;
  int64_t* strides;  // in elements
  uint64_t byte_offset;
};
struct ManagedTensor {
  Tensor tensor;
  void* context;
  void (*deleter)(ManagedTensor* self);
};
struct Version {
  uint32_t major;
  uint32_t minor;
};
struct ManagedTensorVersioned {
  Version version;
  void* context;
  void (*deleter)(ManagedTensorVersioned* self);
  uint64_t flags;
  Tensor tensor;
};

}  // namespace headrace::dlpack
