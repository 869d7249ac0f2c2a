// SPDX-License-Identifier: Apache-2.0
//
// UnitRows: the samples of a decoded unit. Columns stay as the decoder made them; a sample is put together when a batch
// asks for it, so that a unit of a million rows costs nothing a row that nobody took.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "format/arrow_abi.h"
#include "format/arrow_value.h"
#include "format/sample.h"
#include "format/unit_field.h"

namespace headrace {

// A field of the samples, and where it lies: in `table` (none: null in every row), whose row `skip` is row 0 here.
struct UnitColumn {
  UnitField field;
  int table = -1;
  uint64_t skip = 0;
};

// Immutable; any thread.
class UnitRows {
 public:
  // kCorrupt where a table has another column or type than the field says, or too few rows.
  static Result<std::shared_ptr<const UnitRows>> make(uint64_t rows, std::vector<UnitColumn> columns,
                                                      std::vector<ArrowTable> tables);

  uint64_t rows() const { return rows_; }
  uint64_t bytes() const { return bytes_; }  // of the tables' buffers, but those that are in_place()
  // Some of its values lie in the bytes that the unit was decoded from: they must outlive it.
  bool in_place() const { return in_place_; }
  // Appends sample `row`. Numbers are views into the tables, text and JSON made for it lie in `out`. A null has no
  // bytes, and FieldView::bytes.data() is null. kUnsupported: a null inside a list of whole numbers.
  Status sample(uint64_t row, SampleBatchView& out) const;

 private:
  struct Column {
    UnitField field;
    const ArrowSchema* schema = nullptr;       // of the value; null: the field is null in every row
    std::vector<const ArrowArray*> arrays;     // from the top column to the value's
    uint64_t skip = 0;
    // Where values need no more than arithmetic (no nulls, no dictionary, a column at the top): row r is the `width`
    // bytes at data + r * width, or those between offsets r and r + 1. Null data: they do.
    const std::byte* data = nullptr;
    uint64_t width = 0;
    const int32_t* offsets = nullptr;
    const int64_t* wide_offsets = nullptr;
    void find_direct();
    Bytes direct(uint64_t row) const;
  };
  static Status find_column(const UnitColumn& column, const ArrowTable& table, uint64_t rows, Column& found);
  Status value(const Column& column, uint64_t row, SampleBatchView& out, Bytes& bytes) const;
  Status list_value(const Column& column, const ArrowCell& cell, SampleBatchView& out, Bytes& bytes) const;

  uint64_t rows_ = 0;
  uint64_t bytes_ = 0;
  bool in_place_ = false;
  std::vector<Column> columns_;
  std::vector<ArrowTable> tables_;
};

}  // namespace headrace
