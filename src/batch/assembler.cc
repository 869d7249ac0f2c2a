// SPDX-License-Identifier: Apache-2.0
#include "batch/assembler.h"

#include <set>

#include "batch/assembly.h"

namespace headrace {

BatchAssembler::BatchAssembler(std::vector<FieldDecode> decodes, std::shared_ptr<SlotPool> slots,
                               Executor* workers, AssemblerOptions options)
    : decodes_(std::move(decodes)),
      slots_(std::move(slots)),
      workers_(workers),
      options_(options) {}

Result<std::shared_ptr<BatchAssembler>> BatchAssembler::make(std::vector<FieldDecode> decodes,
                                                             std::shared_ptr<SlotPool> slots,
                                                             Executor* workers,
                                                             AssemblerOptions options) {
  std::set<std::string_view> names;
  for (const FieldDecode& decode : decodes) {
    HR_TRY(check_field_decode(decode));
    if (!names.insert(decode.column).second) {
      return invalid_argument("assemble batches: two columns named '" + decode.column + "'");
    }
  }
  return std::shared_ptr<BatchAssembler>(
      new BatchAssembler(std::move(decodes), std::move(slots), workers, options));
}

std::shared_ptr<Assembly> BatchAssembler::start(BatchRequest request) {
  HR_ASSERT(!request.rows.empty());
  return std::make_shared<AssemblyRun>(shared_from_this(), std::move(request));
}

uint64_t BatchAssembler::fixed_bytes(uint64_t rows) const {
  uint64_t row_bytes = sizeof(int64_t) + 1;
  for (const FieldDecode& decode : decodes_) {
    if (const auto form = fixed_form(decode)) row_bytes += form->bytes;
  }
  return rows * row_bytes + kSlotAlignment * (2 + decodes_.size());
}

std::unique_ptr<ImageScratch> BatchAssembler::take_scratch() {
  std::lock_guard lock(mutex_);
  if (scratch_.empty()) return std::make_unique<ImageScratch>();
  auto scratch = std::move(scratch_.back());
  scratch_.pop_back();
  return scratch;
}

void BatchAssembler::give_scratch(std::unique_ptr<ImageScratch> scratch) {
  std::lock_guard lock(mutex_);
  scratch_.push_back(std::move(scratch));
}

}  // namespace headrace
