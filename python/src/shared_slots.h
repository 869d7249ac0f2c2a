// SPDX-License-Identifier: Apache-2.0
//
// Memory that worker processes map, as Python sees it (headrace.workers).
#pragma once

#include <memory>

#include "batch/slot_pool.h"
#include "convert.h"
#include "sys/memfd_arena.h"

namespace headrace::python {

struct SharedMemory {
  std::shared_ptr<MemfdArena> arena;  // never null
};

// A SharedSlot of this memory; None for an empty one.
nb::object shared_slot(Slot slot, const MemfdArena& arena);

}  // namespace headrace::python
