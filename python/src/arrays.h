// SPDX-License-Identifier: Apache-2.0
//
// numpy arrays over memory that the core owns, without a copy.
#pragma once

#include "convert.h"
#include "decode/dtype.h"

namespace headrace::python {

nb::dlpack::dtype dlpack_type(Dtype dtype);

// An array of `dtype` and `shape` over `data`, which `owner` keeps alive. Writable: the batch is the user's.
nb::object array_over(void* data, const std::vector<size_t>& shape, Dtype dtype, nb::handle owner);

}  // namespace headrace::python
