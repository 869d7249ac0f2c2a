// SPDX-License-Identifier: Apache-2.0
//
// The sample of a row as the trainer would see it: cut when its piece was, or now, as the assembly of batches does it.
#pragma once

#include "base/result.h"
#include "fetch/fetcher.h"

namespace headrace::sim {

// `late` holds what is cut now.
inline Result<SampleView> sample_of(const FetchedRow& row, SampleBatchView& late) {
  HR_TRY(row.piece->status);
  if (!row.piece->makes_late()) return row.piece->view[row.row];
  HR_TRY(row.piece->make_sample(row.row, late));
  return late[late.size() - 1];
}

}  // namespace headrace::sim
