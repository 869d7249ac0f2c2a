// SPDX-License-Identifier: Apache-2.0
//
// LooseColumn: a column whose rows stay where they were received, as Python sees it: a memoryview a row, without a
// copy, or all rows joined in one array (headrace.Ragged uses both). Each view keeps the whole batch's memory.
#pragma once

#include <memory>

#include "batch/column.h"
#include "convert.h"

namespace headrace::python {

struct LooseColumn {
  std::shared_ptr<BatchData> batch;
  const Column* column;
};

// `column` is one of `batch`'s and loose.
nb::object loose_column(std::shared_ptr<BatchData> batch, const Column& column);

}  // namespace headrace::python
