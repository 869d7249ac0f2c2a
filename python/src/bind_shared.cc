// SPDX-License-Identifier: Apache-2.0
//
// SharedMemory and SharedSlot: what batches and the results of worker processes lie in. Messages between the processes
// say offsets in it; headrace.workers owns the protocol.
#include <unistd.h>

#include "arrays.h"
#include "shared_slots.h"
#include "sys/peer_watch.h"

namespace headrace::python {
namespace {

struct SharedSlot {
  std::shared_ptr<Slot> slot;  // arrays over it hold it too
  uint64_t offset;
};

nb::object array_of(const SharedSlot& self) {
  nb::capsule owner(new std::shared_ptr<Slot>(self.slot),
                    [](void* p) noexcept { delete static_cast<std::shared_ptr<Slot>*>(p); });
  const MutableBytes bytes = self.slot->bytes();
  return array_over(bytes.data(), {bytes.size()}, Dtype::kU8, owner);
}

nb::object take(const SharedMemory& self, uint64_t bytes) {
  return shared_slot(SlotPool(std::make_shared<MemfdPool>(nullptr, self.arena)).take(bytes), *self.arena);
}

}  // namespace

nb::object shared_slot(Slot slot, const MemfdArena& arena) {
  if (!slot) return nb::none();
  const auto offset = static_cast<uint64_t>(slot.bytes().data() - arena.data());
  return nb::cast(SharedSlot{std::make_shared<Slot>(std::move(slot)), offset});
}

void bind_shared(nb::module_& m) {
  nb::class_<SharedMemory>(m, "SharedMemory", "Memory that other processes map by its descriptor.")
      .def("__init__", [](SharedMemory* self) { new (self) SharedMemory{unwrap(MemfdArena::make())}; })
      .def_prop_ro("descriptor", [](const SharedMemory& self) { return self.arena->descriptor(); })
      .def_prop_ro("address", [](const SharedMemory& self) { return reinterpret_cast<uintptr_t>(self.arena->data()); })
      .def_prop_ro("size", [](const SharedMemory& self) { return self.arena->size(); }, "Bytes of address space.")
      .def("take", &take, "bytes"_a, "A slot that no budget counts; None when the address space is full.",
           nb::sig("def take(self, bytes: int) -> SharedSlot | None"));
  nb::class_<SharedSlot>(m, "SharedSlot", "A piece of SharedMemory; given back when nothing refers to it.")
      .def_prop_ro("array", &array_of, "uint8 over all of it, writable.",
                   nb::sig("def array(self) -> NDArray[np.uint8]"))
      .def_ro("offset", &SharedSlot::offset, "In the memory.")
      .def("leave_budget", [](SharedSlot& self) { self.slot->detach(); }, "Its bytes count no longer.");
  m.def("exit_when_peer_closes", [](int socket) { check(exit_when_peer_closes(socket)); }, "socket"_a,
        "From now on this process ends at once when the socket's other end is closed.");
}

}  // namespace headrace::python
