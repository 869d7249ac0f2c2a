// SPDX-License-Identifier: Apache-2.0
//
// DeviceArray: an array of a GPU's memory (or of the host's) that other frameworks take by DLPack. nanobind's own
// export ignores `stream`; here the consumer's stream waits for the copy, and the memory goes back only behind what
// the consumer had queued. The deleter touches no Python: it may run on any thread, without the GIL, after the
// interpreter's end.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/tuple.h>

#include <cstring>
#include <numeric>

#include "arrays.h"
#include "device_handles.h"
#include "dlpack_abi.h"

namespace headrace::python {
namespace {

struct DeviceArray {
  std::shared_ptr<void> hold;                // the memory
  void* data = nullptr;
  std::vector<int64_t> shape;
  Dtype dtype = Dtype::kU8;
  dlpack::Device device{dlpack::kCpu, 0};
  // Of a GPU:
  std::shared_ptr<DeviceBlock> block;
  std::shared_ptr<Copy> copy;
  CudaCopier* copier = nullptr;

  uint64_t elements() const {
    return std::accumulate(shape.begin(), shape.end(), uint64_t{1}, std::multiplies<>());
  }
  uint64_t bytes() const { return elements() * dtype_size(dtype); }
};

// What a consumer holds of an array; either structure of DLPack is inside.
struct Export {
  dlpack::ManagedTensor legacy{};
  dlpack::ManagedTensorVersioned versioned{};
  std::shared_ptr<void> hold;
  std::vector<int64_t> shape, strides;
};

template <class Managed>
void delete_export(Managed* self) {
  delete static_cast<Export*>(self->context);
}

// Of a capsule that nobody took; one that was taken has another name.
template <class Managed>
void drop_capsule(PyObject* capsule, const char* name) {
  if (PyCapsule_IsValid(capsule, name) == 0) return;
  auto* managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule, name));
  managed->deleter(managed);
}
void drop_legacy(PyObject* capsule) { drop_capsule<dlpack::ManagedTensor>(capsule, "dltensor"); }
void drop_versioned(PyObject* capsule) {
  drop_capsule<dlpack::ManagedTensorVersioned>(capsule, "dltensor_versioned");
}

dlpack::DataType data_type(Dtype dtype) {
  const nb::dlpack::dtype type = dlpack_type(dtype);
  return {type.code, type.bits, type.lanes};
}

nb::object export_array(const DeviceArray& array, bool versioned, bool copied) {
  auto made = std::make_unique<Export>();
  made->hold = array.hold;
  made->shape = array.shape;
  made->strides.resize(array.shape.size());
  int64_t stride = 1;
  for (size_t i = array.shape.size(); i-- > 0;) {
    made->strides[i] = stride;
    stride *= array.shape[i];
  }
  const dlpack::Tensor tensor{array.data, array.device, static_cast<int32_t>(array.shape.size()),
                              data_type(array.dtype), made->shape.data(), made->strides.data(), 0};
  Export* raw = made.release();
  raw->legacy = {tensor, raw, &delete_export<dlpack::ManagedTensor>};
  raw->versioned = {{1, 0}, raw, &delete_export<dlpack::ManagedTensorVersioned>,
                    copied ? dlpack::kFlagIsCopied : 0, tensor};
  PyObject* capsule = versioned ? PyCapsule_New(&raw->versioned, "dltensor_versioned", &drop_versioned)
                                : PyCapsule_New(&raw->legacy, "dltensor", &drop_legacy);
  if (capsule == nullptr) {
    delete raw;
    throw nb::python_error();
  }
  return nb::steal(capsule);
}

// A copy that was queued and whose end is not known may still be made: its memory is then never given back.
Status copy_to_host(const DeviceArray& array, const DeviceArray& out) {
  CudaDevice& device = array.copier->device();
  const CudaDevice::Current current(device);
  HR_TRY(current.status());
  HR_TRY(array.copier->wait(*array.copy));
  HR_TRY(device.driver().check(device.api().copy_to_host(out.data, reinterpret_cast<uintptr_t>(array.data),
                                                         array.bytes(), array.copier->stream()),
                               "copy an array to the host"));
  Status ended =
      device.driver().check(device.api().stream_synchronize(array.copier->stream()), "copy an array to the host");
  if (!ended.ok()) [[maybe_unused]] auto* kept_for_good = new std::shared_ptr<void>(out.hold);
  return ended;
}

DeviceArray host_memory(const std::vector<int64_t>& shape, Dtype dtype) {
  DeviceArray out;
  out.shape = shape;
  out.dtype = dtype;
  const uint64_t bytes = std::max<uint64_t>(out.bytes(), 1);
  out.hold = std::shared_ptr<void>(std::aligned_alloc(64, (bytes + 63) / 64 * 64), &std::free);
  out.data = out.hold.get();
  if (out.data == nullptr) throw std::bad_alloc();
  return out;
}

DeviceArray to_host(const DeviceArray& self) {
  DeviceArray out = host_memory(self.shape, self.dtype);
  Status status;
  {
    nb::gil_scoped_release unlocked;
    if (self.copier == nullptr) {
      std::memcpy(out.data, self.data, self.bytes());
    } else if (self.bytes() > 0) {
      status = copy_to_host(self, out);
    }
  }
  check(status);
  return out;
}

// A second block, filled on the consumer's stream.
Result<DeviceArray> copy_on_device(const DeviceArray& self, uintptr_t stream) {
  HR_TRY_ASSIGN(DeviceMemory* memory, DeviceMemory::of(*self.copier));
  HR_TRY_ASSIGN(std::shared_ptr<DeviceBlock> block, memory->take(std::max<uint64_t>(self.bytes(), 1)));
  // An empty copy: its end is behind the taking, so that the consumer's stream finds the memory there.
  HR_TRY_ASSIGN(std::shared_ptr<Copy> taken, self.copier->submit({}));
  HR_TRY(self.copier->make_wait(*taken, stream));
  HR_TRY(self.copier->make_wait(*self.copy, stream));
  const CudaDevice& device = self.copier->device();
  const CudaDevice::Current current(device);
  HR_TRY(current.status());
  HR_TRY(device.driver().check(device.api().copy_on_device(block->at(), reinterpret_cast<uintptr_t>(self.data),
                                                           self.bytes(), stream_of(stream)),
                               "copy an array on the GPU"));
  DeviceArray out = self;
  out.hold = out.block = block;
  out.data = reinterpret_cast<void*>(block->at());
  return out;
}

[[noreturn]] void refuse(const std::string& message) {
  PyErr_SetString(PyExc_BufferError, message.c_str());
  throw nb::python_error();
}

// The consumer's stream by the array API's rules: 0 may not be, None is the legacy default stream, -1 asks for nothing.
nb::object export_cuda(const DeviceArray& self, std::optional<int64_t> stream, bool versioned, bool copied) {
  if (stream == 0) throw nb::value_error("__dlpack__: stream=0 is ambiguous: 1 is the legacy default stream, 2 the "
                                         "thread's own");
  if (stream == -1) {
    if (copied) refuse("__dlpack__: copy=True needs the stream that the copy is to be made on, not stream=-1");
    self.block->used_on(cuda::kStreamPerThread);  // not known which: only the whole context can be waited for
    return export_array(self, versioned, false);
  }
  const auto handle = static_cast<uintptr_t>(stream.value_or(static_cast<int64_t>(cuda::kStreamLegacy)));
  Result<DeviceArray> out = self;
  {
    nb::gil_scoped_release unlocked;
    self.block->used_on(handle);
    if (copied) {
      out = copy_on_device(self, handle);
      if (out.ok()) out->block->used_on(handle);
    } else if (const Status status = self.copier->make_wait(*self.copy, handle); !status.ok()) {
      out = status;
    }
  }
  return export_array(unwrap(std::move(out)), versioned, copied);
}

nb::object dlpack_of(const DeviceArray& self, std::optional<int64_t> stream,
                     std::optional<std::pair<int64_t, int64_t>> max_version,
                     std::optional<std::pair<int64_t, int64_t>> dl_device, std::optional<bool> copy) {
  const bool versioned = max_version && max_version->first >= 1;
  const bool same = !dl_device || (dl_device->first == self.device.type && dl_device->second == self.device.id);
  const bool on_host = self.device.type == dlpack::kCpu;
  if (!same && (dl_device->first != dlpack::kCpu || copy == false)) {
    refuse("__dlpack__: an array on device (" + std::to_string(self.device.type) + ", " +
           std::to_string(self.device.id) + ") cannot be had on (" + std::to_string(dl_device->first) + ", " +
           std::to_string(dl_device->second) + ")" + (copy == false ? " without a copy" : ""));
  }
  if (on_host || !same) {
    if (stream && *stream != -1) throw nb::value_error("__dlpack__: memory of the host has no stream; stream=None");
    const bool copied = !same || copy == true;
    return copied ? export_array(to_host(self), versioned, true) : export_array(self, versioned, false);
  }
  return export_cuda(self, stream, versioned, copy == true);
}

nb::object numpy_of(const DeviceArray& self) {
  const DeviceArray host = to_host(self);
  nb::capsule owner(new std::shared_ptr<void>(host.hold),
                    [](void* p) noexcept { delete static_cast<std::shared_ptr<void>*>(p); });
  std::vector<size_t> shape(host.shape.begin(), host.shape.end());
  return array_over(host.data, shape, host.dtype, owner);
}

DeviceArray of_host(const nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>& array) {
  std::vector<int64_t> shape;
  for (size_t i = 0; i < array.ndim(); ++i) shape.push_back(static_cast<int64_t>(array.shape(i)));
  for (const DtypeFacts& facts : kDtypes) {
    if (dlpack_type(facts.dtype) != array.dtype()) continue;
    DeviceArray out = host_memory(shape, facts.dtype);
    std::memcpy(out.data, array.data(), out.bytes());
    return out;
  }
  throw nb::type_error("DeviceArray.of_host: an array of numbers is needed");
}

std::string device_name(const DeviceArray& self) {
  return self.device.type == dlpack::kCpu ? "cpu" : "cuda:" + std::to_string(self.device.id);
}

nb::tuple shape_of(const DeviceArray& self) {
  nb::list out;
  for (const int64_t dim : self.shape) out.append(dim);
  return nb::tuple(out);
}

// Numba's and older libraries' way. The consumer synchronises with the copier's stream.
nb::dict cuda_array_interface(const DeviceArray& self) {
  if (self.copier == nullptr) throw nb::attribute_error("__cuda_array_interface__: the array is not on a GPU");
  self.block->used_on(cuda::kStreamPerThread);
  nb::dict out;
  const char* kinds = "uifb";
  const uint8_t code = data_type(self.dtype).code;
  const char kind = code == dlpack::kUint ? kinds[0] : code == dlpack::kInt ? kinds[1]
                    : code == dlpack::kFloat ? kinds[2] : kinds[3];
  const uint32_t size = dtype_size(self.dtype);
  out["shape"] = shape_of(self);
  out["typestr"] = std::string(size == 1 ? "|" : "<") + kind + std::to_string(size);
  out["data"] = nb::make_tuple(reinterpret_cast<uintptr_t>(self.data), false);
  out["strides"] = nb::none();
  out["stream"] = reinterpret_cast<uintptr_t>(self.copier->stream());
  out["version"] = 3;
  return out;
}

}  // namespace

nb::object device_array(const BlockHandle& block, const CopyHandle& copy, uint64_t offset,
                        const std::vector<int64_t>& shape, const std::string& dtype) {
  const auto known = dtype_of_name(dtype);
  if (!known) throw nb::value_error("DeviceBlock.array: no such dtype");
  DeviceArray out;
  out.shape = shape;
  out.dtype = *known;
  if (offset > block.block->size() || out.bytes() > block.block->size() - offset) {
    throw nb::value_error("DeviceBlock.array: larger than the block");
  }
  out.hold = out.block = block.block;
  out.data = reinterpret_cast<void*>(block.block->at() + offset);
  out.device = {dlpack::kCuda, block.copier->device().ordinal()};
  out.copy = copy.copy;
  out.copier = block.copier;
  return nb::cast(std::move(out));
}

void bind_device_array(nb::module_& m) {
  nb::class_<DeviceArray>(m, "DeviceArray",
                          "An array in the memory of a GPU; frameworks take it with their from_dlpack().")
      .def("__dlpack__", &dlpack_of, nb::kw_only(), "stream"_a = nb::none(), "max_version"_a = nb::none(),
           "dl_device"_a = nb::none(), "copy"_a = nb::none(),
           nb::sig("def __dlpack__(self, *, stream: int | None = None, max_version: tuple[int, int] | None = None, "
                   "dl_device: tuple[int, int] | None = None, copy: bool | None = None) -> Any"))
      .def("__dlpack_device__",
           [](const DeviceArray& self) { return nb::make_tuple(self.device.type, self.device.id); },
           nb::sig("def __dlpack_device__(self) -> tuple[int, int]"))
      .def_prop_ro("__cuda_array_interface__", &cuda_array_interface,
                   nb::sig("def __cuda_array_interface__(self) -> dict[str, Any]"))
      .def_static("of_host", &of_host, "array"_a, "A copy of an array of the host, to be taken by DLPack.",
                  nb::sig("def of_host(array: NDArray[Any]) -> DeviceArray"))
      .def("numpy", &numpy_of, "A copy on the host.", nb::sig("def numpy(self) -> NDArray[Any]"))
      .def("host", &to_host, "A copy in the host's memory, to be taken by DLPack.")
      .def_prop_ro("shape", &shape_of, nb::sig("def shape(self) -> tuple[int, ...]"))
      .def_prop_ro("dtype", [](const DeviceArray& self) { return std::string(dtype_name(self.dtype)); })
      .def_prop_ro("nbytes", &DeviceArray::bytes)
      .def_prop_ro("ndim", [](const DeviceArray& self) { return self.shape.size(); })
      .def_prop_ro("device", &device_name)
      .def_prop_ro("address", [](const DeviceArray& self) { return reinterpret_cast<uintptr_t>(self.data); })
      .def("__len__", [](const DeviceArray& self) { return self.shape.empty() ? 0 : self.shape[0]; })
      .def("__repr__", [](const DeviceArray& self) {
        std::string text = "DeviceArray(" + std::string(dtype_name(self.dtype)) + "[";
        for (size_t i = 0; i < self.shape.size(); ++i) text += (i ? ", " : "") + std::to_string(self.shape[i]);
        return text + "] on " + device_name(self) + ")";
      });
}

}  // namespace headrace::python
