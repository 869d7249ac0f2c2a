// SPDX-License-Identifier: Apache-2.0
//
// One sample's fields as natural Python values: bytes, str, int, float, what json.loads gives, or numpy arrays.
#pragma once

#include <nanobind/nanobind.h>

#include "decode/field_decode.h"

namespace headrace::python {

// Raises CorruptError naming the field when `stored` is not what `decode` expects.
nanobind::object sample_value(const FieldDecode& decode, Bytes stored);

}  // namespace headrace::python
