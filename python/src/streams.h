// SPDX-License-Identifier: Apache-2.0
//
// How Python holds the place of a job in the stream order.
#pragma once

#include <memory>

#include "convert.h"
#include "fetch/stream_engine.h"

namespace headrace::python {

struct StreamAt {
  uint64_t epoch = 0;
  uint64_t position = 0;
  std::shared_ptr<const StreamSnapshot> streams;  // never null
};

// {"streams", "slots", "end", "at"}: the job of this rank; its seed and what a batch is come from elsewhere.
StreamJob stream_job(const nb::dict& given, uint64_t rank, uint64_t world);

}  // namespace headrace::python
