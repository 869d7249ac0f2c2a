// SPDX-License-Identifier: Apache-2.0
//
// Cuda, Copy, PinnedMemory, DeviceBlock and DeviceRing: the GPU as headrace.device_movers uses it.
#include <nanobind/stl/pair.h>
#include <nanobind/stl/tuple.h>

#include "device_handles.h"
#include "loose_column.h"

namespace headrace::python {
namespace {

struct Cuda {
  CudaCopier* copier = nullptr;
};
struct Ring {
  std::shared_ptr<DeviceRing> ring;
  CudaCopier* copier = nullptr;
};

using Source = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;

Cuda open_cuda(int ordinal) {
  nb::gil_scoped_release unlocked;
  auto found = CudaCopier::of(ordinal);
  nb::gil_scoped_acquire locked;
  return {unwrap(std::move(found))};
}

// The rows of a loose column, gathered one after another by the copy itself.
void add_rows(const Column& column, uint64_t target, std::vector<CopyPart>& parts) {
  for (const Bytes row : column.rows) {
    if (!row.empty()) parts.push_back({row, target});
    target += row.size();
  }
}

// parts: (source, address on the device); loose: the same of columns whose rows lie apart. The caller keeps sources
// alive that `host` does not.
CopyHandle submit(const Cuda& self, const std::vector<std::pair<Source, uint64_t>>& parts,
                  const std::vector<uintptr_t>& after, const HostBatch* host, const PinnedMemory* memory,
                  const std::vector<BlockHandle*>& blocks,
                  const std::vector<std::pair<LooseColumn*, uint64_t>>& loose) {
  CopyRequest request;
  for (const auto& [source, target] : parts) {
    if (source.nbytes() == 0) continue;
    request.parts.push_back({Bytes(static_cast<const std::byte*>(source.data()), source.nbytes()), target});
  }
  for (const auto& [column, target] : loose) add_rows(*column->column, target, request.parts);
  request.after = after;
  if (host != nullptr) request.hold = host->batch;
  if (memory != nullptr) request.arena = memory->memory.arena;
  for (BlockHandle* block : blocks) {
    request.before.insert(request.before.end(), block->before.begin(), block->before.end());
    block->before.clear();
  }
  nb::gil_scoped_release unlocked;
  auto copy = self.copier->submit(std::move(request));
  nb::gil_scoped_acquire locked;
  return {unwrap(std::move(copy)), self.copier};
}

void make_wait(const CopyHandle& self, uintptr_t stream) {
  Status status;
  {
    nb::gil_scoped_release unlocked;
    status = self.copier->make_wait(*self.copy, stream);
  }
  check(status);
}

void wait(const CopyHandle& self) {
  Status status;
  {
    nb::gil_scoped_release unlocked;
    status = self.copier->wait(*self.copy);
  }
  check(status);
}

BlockHandle take(const Cuda& self, uint64_t bytes) {
  nb::gil_scoped_release unlocked;
  auto block = [&]() -> Result<std::shared_ptr<DeviceBlock>> {
    HR_TRY_ASSIGN(DeviceMemory* memory, DeviceMemory::of(*self.copier));
    return memory->take(std::max<uint64_t>(bytes, 1));
  }();
  nb::gil_scoped_acquire locked;
  return {unwrap(std::move(block)), {}, self.copier};
}

Ring make_ring(const Cuda& self, uint32_t slots, uint64_t slot_bytes) {
  nb::gil_scoped_release unlocked;
  auto ring = DeviceRing::make(*self.copier, std::max<uint32_t>(slots, 1), std::max<uint64_t>(slot_bytes, 1));
  nb::gil_scoped_acquire locked;
  return {unwrap(std::move(ring)), self.copier};
}

nb::object take_slot(const Ring& self, std::string label) {
  BlockHandle handle;
  handle.copier = self.copier;
  handle.block = self.ring->take(std::move(label), handle.before);
  return handle.block ? nb::cast(std::move(handle)) : nb::none();
}

nb::list holders(const Ring& self) {
  nb::list out;
  for (const DeviceRing::Holder& holder : self.ring->holders()) {
    out.append(nb::make_tuple(holder.label, static_cast<double>(holder.age.count()) * 1e-9));
  }
  return out;
}

PinnedMemory pinned(const Cuda& self, uint64_t extent_bytes) {
  PinnedStream memory{self.copier, PinnedArena::make(self.copier->device()), nullptr};
  if (extent_bytes > 0) memory.extents = PinnedExtents::make(memory.arena, self.copier->issuing(), extent_bytes);
  return {std::move(memory)};
}

void prepare(const PinnedMemory& self, uint32_t count, uint64_t bytes) {
  nb::gil_scoped_release unlocked;
  std::vector<std::byte*> slots;
  for (uint32_t i = 0; i < count; ++i) slots.push_back(self.memory.arena->take(std::max<uint64_t>(bytes, 1)));
  for (std::byte* slot : slots) {
    if (slot != nullptr) self.memory.arena->give(slot, std::max<uint64_t>(bytes, 1));
  }
}

nb::dict stats(const Cuda& self) {
  const CopierMetrics& m = self.copier->metrics();
  nb::dict out;
  out["copies"] = m.copies.value();
  out["bytes"] = m.bytes.value();
  out["unpinned_bytes"] = m.unpinned_bytes.value();
  out["batched_copies"] = m.batched_copies.value();
  out["nanos"] = m.nanos.value();
  return out;
}

void bind_memory(nb::module_& m) {
  nb::class_<HostBatch>(m, "HostBatch", "Keeps the memory of a batch's columns.");
  nb::class_<PinnedMemory>(m, "PinnedMemory", "Page-locked memory that a Stream's batches lie in.")
      .def("prepare", &prepare, "count"_a, "bytes"_a, "Makes so many slots now.")
      .def_prop_ro("mapped", [](const PinnedMemory& self) { return self.memory.arena->mapped(); }, "Bytes.")
      .def_prop_ro("pinned", [](const PinnedMemory& self) { return self.memory.arena->pinned(); }, "Bytes of them.");
  nb::class_<BlockHandle>(m, "DeviceBlock", "Memory of a GPU, given back behind its consumers' work.")
      .def_prop_ro("address", [](const BlockHandle& self) { return self.block->at(); })
      .def_prop_ro("size", [](const BlockHandle& self) { return self.block->size(); })
      .def("array", &device_array, "copy"_a, "offset"_a, "shape"_a, "dtype"_a,
           "What `copy` brings to `offset`, as an array that frameworks take by DLPack.",
           nb::sig("def array(self, copy: Copy, offset: int, shape: Sequence[int], dtype: str) -> DeviceArray"));
  nb::class_<Ring>(m, "DeviceRing", "Slots of a GPU's memory whose addresses never change.")
      .def("take", &take_slot, "label"_a, "None: all are held.",
           nb::sig("def take(self, label: str) -> DeviceBlock | None"))
      .def("wait_free", [](const Ring& self, double seconds) {
        nb::gil_scoped_release unlocked;
        return self.ring->wait_free(Nanos(static_cast<int64_t>(seconds * 1e9)));
      }, "seconds"_a)
      .def("holders", &holders, "(label, seconds) of each slot that is held, the oldest first.",
           nb::sig("def holders(self) -> list[tuple[str, float]]"))
      .def_prop_ro("slot_bytes", [](const Ring& self) { return self.ring->slot_bytes(); });
}

}  // namespace

void bind_device(nb::module_& m) {
  nb::class_<CopyHandle>(m, "Copy", "A batch on its way to a GPU.")
      .def_prop_ro("done", [](const CopyHandle& self) { return self.copy->done(); })
      .def("make_wait", &make_wait, "stream"_a, "What is queued on the stream from now on comes after the copy.")
      .def("wait", &wait, "Until it is done.");
  bind_memory(m);
  bind_device_array(m);
  nb::class_<Cuda>(m, "Cuda", "One GPU; the driver is loaded when the first is made.")
      .def("__init__", [](Cuda* self, int ordinal) { new (self) Cuda(open_cuda(ordinal)); }, "ordinal"_a)
      .def_prop_ro("ordinal", [](const Cuda& self) { return self.copier->device().ordinal(); })
      .def_prop_ro("name", [](const Cuda& self) { return self.copier->device().name(); })
      .def_prop_ro("numa_node", [](const Cuda& self) { return self.copier->device().numa_node(); })
      .def_prop_ro("driver_version", [](const Cuda& self) { return self.copier->device().driver().version(); })
      .def_prop_ro("has_pools", [](const Cuda& self) { return self.copier->device().has_pools(); })
      .def_prop_ro("has_batch_copy", [](const Cuda& self) { return self.copier->device().driver().has_batch_copy(); })
      .def_prop_ro("stream", [](const Cuda& self) { return reinterpret_cast<uintptr_t>(self.copier->stream()); })
      .def("pinned", &pinned, "extent_bytes"_a, "extent_bytes: at most so much for large samples; 0: none.")
      .def("submit", &submit, "parts"_a, "after"_a, "host"_a.none(), "memory"_a.none(), "blocks"_a, "loose"_a,
           nb::sig("def submit(self, parts: list[tuple[NDArray[Any], int]], after: list[int], "
                   "host: HostBatch | None, memory: PinnedMemory | None, blocks: list[DeviceBlock], "
                   "loose: list[tuple[LooseColumn, int]]) -> Copy"))
      .def("take", &take, "bytes"_a)
      .def("ring", &make_ring, "slots"_a, "slot_bytes"_a)
      .def("stats", &stats, nb::sig("def stats(self) -> dict[str, int]"));
  m.def("cuda_devices", [] {
    nb::gil_scoped_release unlocked;
    auto driver = CudaDriver::load();
    nb::gil_scoped_acquire locked;
    return unwrap(std::move(driver))->devices();
  }, "How many GPUs this process sees (CUDA_VISIBLE_DEVICES is the driver's to read).");
  m.def("stop_cuda", [] {
    nb::gil_scoped_release unlocked;
    CudaCopier::stop_all();
  }, "At the interpreter's exit: ends the copiers' threads; the rest is left to the process's end.");
}

}  // namespace headrace::python
