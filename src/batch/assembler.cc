// SPDX-License-Identifier: Apache-2.0
#include "batch/assembler.h"

#include <set>

#include "batch/assembly.h"

namespace headrace {

BatchAssembler::BatchAssembler(DecodesBySource decodes, std::shared_ptr<SlotPool> slots, Executor* workers,
                               AssemblerOptions options)
    : decodes_(std::move(decodes)),
      slots_(std::move(slots)),
      workers_(workers),
      options_(options) {}

namespace {

// What rows of one column must have in common, wherever they come from.
bool same_form(const FieldDecode& a, const FieldDecode& b) {
  const auto first = fixed_form(a), second = fixed_form(b);
  if (first.has_value() != second.has_value()) return false;
  if (first) return first->dtype == second->dtype && first->shape == second->shape;
  const bool kept = keeps_bytes(a.kind) || keeps_bytes(b.kind);
  return kept ? a.kind == b.kind : a.shape == b.shape;
}

Status check_source(const std::vector<FieldDecode>& first, const std::vector<FieldDecode>& other, size_t number) {
  const std::string where = "assemble batches: source " + std::to_string(number) + " of the mixture ";
  if (first.size() != other.size()) {
    return invalid_argument(where + "has " + std::to_string(other.size()) + " columns, the first source " +
                            std::to_string(first.size()) + "; name the columns with decode=");
  }
  for (size_t c = 0; c < first.size(); ++c) {
    HR_TRY(check_field_decode(other[c]));
    if (first[c].column != other[c].column) {
      return invalid_argument(where + "has column '" + other[c].column + "' where the first has '" + first[c].column +
                              "'; name the columns with decode=");
    }
    if (!same_form(first[c], other[c])) {
      return invalid_argument(where + "gives column '" + first[c].column + "' as " +
                              std::string(field_kind_name(other[c].kind)) + ", the first as " +
                              std::string(field_kind_name(first[c].kind)) +
                              ", of another type or shape; say how to decode it with decode=");
    }
  }
  return {};
}

}  // namespace

Result<std::shared_ptr<BatchAssembler>> BatchAssembler::make(std::vector<FieldDecode> decodes,
                                                             std::shared_ptr<SlotPool> slots,
                                                             Executor* workers,
                                                             AssemblerOptions options) {
  return make(DecodesBySource{std::move(decodes)}, std::move(slots), workers, options);
}

Result<std::shared_ptr<BatchAssembler>> BatchAssembler::make(DecodesBySource decodes, std::shared_ptr<SlotPool> slots,
                                                             Executor* workers, AssemblerOptions options) {
  HR_ASSERT(!decodes.empty());
  std::set<std::string_view> names;
  for (const FieldDecode& decode : decodes[0]) {
    HR_TRY(check_field_decode(decode));
    if (!names.insert(decode.column).second) {
      return invalid_argument("assemble batches: two columns named '" + decode.column + "'");
    }
  }
  for (size_t i = 1; i < decodes.size(); ++i) HR_TRY(check_source(decodes[0], decodes[i], i));
  return std::shared_ptr<BatchAssembler>(
      new BatchAssembler(std::move(decodes), std::move(slots), workers, options));
}

std::shared_ptr<Assembly> BatchAssembler::start(BatchRequest request) {
  HR_ASSERT(!request.rows.empty());
  return std::make_shared<AssemblyRun>(shared_from_this(), std::move(request));
}

uint64_t BatchAssembler::fixed_bytes(uint64_t rows) const {
  uint64_t row_bytes = 2 * sizeof(int64_t) + 1 + (decodes_.size() > 1 ? sizeof(int32_t) : 0);
  for (const FieldDecode& decode : decodes()) {
    if (const auto form = fixed_form(decode)) row_bytes += form->bytes;
  }
  return rows * row_bytes + kSlotAlignment * (4 + decodes().size());
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
