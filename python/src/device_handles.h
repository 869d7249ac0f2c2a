// SPDX-License-Identifier: Apache-2.0
//
// How Python holds things of the GPU (headrace.device_movers).
#pragma once

#include <memory>

#include "batch/column.h"
#include "convert.h"
#include "device/device_ring.h"
#include "device/pinned_stream.h"

namespace headrace::python {

// Where batches lie before they are copied.
struct PinnedMemory {
  PinnedStream memory;
};

// Keeps the memory of a batch's columns.
struct HostBatch {
  std::shared_ptr<BatchData> batch;
};

struct CopyHandle {
  std::shared_ptr<Copy> copy;
  CudaCopier* copier = nullptr;
};

// A block of the GPU's memory that is about to be filled.
struct BlockHandle {
  std::shared_ptr<DeviceBlock> block;
  std::vector<cuda::Event> before;  // of a ring's slot: what the copy into it waits for
  CudaCopier* copier = nullptr;
};

// DeviceArray: bind_device_array.cc.
nb::object device_array(const BlockHandle& block, const CopyHandle& copy, uint64_t offset,
                        const std::vector<int64_t>& shape, const std::string& dtype);
void bind_device_array(nb::module_& m);

}  // namespace headrace::python
