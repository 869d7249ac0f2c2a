// SPDX-License-Identifier: Apache-2.0
//
// The columns of a data set for which the user asked nothing: a tar's fields are bytes, MDS columns are what their
// encodings say.
#pragma once

#include <vector>

#include "decode/field_decode.h"
#include "format/dataset_index.h"

namespace headrace {

// One FieldDecode for each field of the data set, in its order.
Result<std::vector<FieldDecode>> default_fields(const DatasetIndex& index);

}  // namespace headrace
