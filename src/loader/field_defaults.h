// SPDX-License-Identifier: Apache-2.0
//
// The columns of a data set for which the user asked nothing: typed ones where the format or its schema says them (MDS,
// JSON lines), else every field as bytes (tars).
#pragma once

#include <vector>

#include "decode/field_decode.h"
#include "format/dataset_index.h"

namespace headrace {

// One FieldDecode for each column, in the data set's order.
Result<std::vector<FieldDecode>> default_fields(const DatasetIndex& index);

}  // namespace headrace
