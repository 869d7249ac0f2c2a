// SPDX-License-Identifier: Apache-2.0
//
// The edge between C++ values and Python: Status becomes an exception, vectors become numpy arrays
// that own them, and waits let go of the GIL and look for Ctrl-C.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "sys/clock.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace headrace::python {

// How long a wait stays in C++ before it looks for signals: Ctrl-C is answered within twice this.
inline constexpr std::chrono::milliseconds kWaitSlice{50};

// Raises the exception of headrace.errors for this code.
[[noreturn]] void raise(const Status& status);

inline void check(const Status& status) {
  if (!status.ok()) raise(status);
}
template <class T>
T unwrap(Result<T> result) {
  if (!result.ok()) raise(result.status());
  return *std::move(result);
}

// Names that data brings (a tar member's, a key): bytes that are no UTF-8 become lone surrogates, as in os.fsdecode,
// and come back from them.
nb::str data_name(std::string_view name);
std::string data_name_bytes(nb::handle name);

// Raises KeyboardInterrupt (or what a signal handler raised). Needs the GIL.
void check_signals();

// A one-dimensional numpy array that owns `values`.
template <class T>
nb::object to_numpy(std::vector<T> values) {
  auto owned = std::make_unique<std::vector<T>>(std::move(values));
  T* data = owned->data();
  const size_t size = owned->size();
  nb::capsule owner(owned.release(), [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
  return nb::ndarray<nb::numpy, T, nb::ndim<1>>(data, {size}, owner).cast();
}

void bind_order(nb::module_& m);
void bind_schedule(nb::module_& m);
void bind_dataset(nb::module_& m);
void bind_device(nb::module_& m);
void bind_index(nb::module_& m);
void bind_shared(nb::module_& m);
void bind_loose(nb::module_& m);
void bind_stream(nb::module_& m);
void bind_streams(nb::module_& m);
void bind_sampling(nb::module_& m);
void bind_probe(nb::module_& m);

}  // namespace headrace::python
