// SPDX-License-Identifier: Apache-2.0
//
// The columns a user asked for (headrace.decode's plain dicts) as the core's FieldDecodes.
#pragma once

#include <nanobind/nanobind.h>

#include <vector>

#include "decode/field_decode.h"
#include "format/dataset_index.h"

namespace headrace::python {

// An empty list means every field, as the format itself says. Raises OptionError.
std::vector<FieldDecode> field_decodes(const nanobind::list& specs, const DatasetIndex& index);

}  // namespace headrace::python
