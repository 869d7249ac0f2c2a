// SPDX-License-Identifier: Apache-2.0
//
// The ArrowDecoder that is a Python function: set by headrace when pyarrow is there.
#pragma once

#include "convert.h"

namespace headrace::python {

void bind_arrow_decode(nb::module_& m);

}  // namespace headrace::python
