// SPDX-License-Identifier: Apache-2.0
//
// Where everything of a batch lies in its slot: sizes first, then spans over memory. Two kinds of
// parts: fixed ones, and ragged ones, whose size changes when a bad row is replaced by another
// after the rest was decoded. The ragged part can therefore be laid out again over a slot of its
// own.
#pragma once

#include <vector>

#include "batch/column.h"
#include "batch/row_reader.h"

namespace headrace {

class BatchLayout {
 public:
  // Decides each measured column's dtype, dimensions and whether it is ragged in this batch, from
  // its good rows; rows that do not fit the first good one get a fault. `faults` has one status a
  // row; `decodes` are the first source's.
  BatchLayout(const std::vector<FieldDecode>& decodes, const std::vector<BatchRow>& rows,
              const RowReader& reader, std::vector<Status>& faults, bool mixed = false);

  // The values of the column are not laid out: they stay where they are.
  void keep_loose(size_t column) { forms_[column].loose = forms_[column].late = true; }
  void join_all();

  // `sources[i]` is the row whose data row i holds. kExhausted when a size does not fit in 63 bits.
  Status measure(const std::vector<uint64_t>& sources);
  uint64_t fixed_bytes() const { return fixed_bytes_; }
  uint64_t ragged_bytes() const { return ragged_bytes_; }

  // Points the batch's fixed parts at `memory` (fixed_bytes()) and its ragged ones at theirs
  // (ragged_bytes()), and fills in names, dtypes, offsets and shapes. Not ids, keys' text, valid
  // and values.
  void place_fixed(MutableBytes memory, BatchData& batch) const;
  void place_ragged(MutableBytes memory, const std::vector<uint64_t>& sources,
                    BatchData& batch) const;

  // The place of a row of a placed column.
  static MutableBytes row_of(const Column& column, uint64_t rows, uint64_t row);

 private:
  struct ColumnForm {
    bool ragged = false;
    bool loose = false;
    bool late = false;  // loose, or was: laid out with the ragged ones, as joined rows need a place that late
    Dtype dtype = Dtype::kU8;
    Shape shape;         // fixed
    uint64_t bytes = 0;  // values of the whole column
    uint32_t ndim = 1;   // ragged
  };
  void agree_on_form(size_t column, std::vector<Status>& faults);

  const std::vector<FieldDecode>& decodes_;
  const std::vector<BatchRow>& rows_;
  const RowReader& reader_;
  const bool mixed_;  // the batch says which source each row is from
  std::vector<ColumnForm> forms_;
  uint64_t key_bytes_ = 0;
  uint64_t fixed_bytes_ = 0;
  uint64_t ragged_bytes_ = 0;
};

}  // namespace headrace
