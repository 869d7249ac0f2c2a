// SPDX-License-Identifier: Apache-2.0
//
// The rows that go into a batch, what is known of each before and after measuring, and the two
// steps for one row: find and measure its fields, write them. No threads here: assembly.cc calls
// these for ranges of rows.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "decode/field_decode.h"
#include "format/sample.h"

namespace headrace {

struct BatchRow {
  SampleView sample;        // its bytes live as long as BatchRequest::hold
  uint64_t id = 0;          // sample number
  uint64_t epoch = 0;       // of its source
  uint64_t random_key = 0;  // key(seed, epoch, 4, id)
  bool valid = true;        // false: the row only pads the batch
  uint32_t source = 0;      // of a mixture: which data set; chooses among the decodes
  std::string_view shard;   // for messages
  Status fault;             // not ok: the sample could not be cut; the row is bad
};

// Ragged rows of more dimensions are kUnsupported (a fixed shape may have up to Shape::kDimsMax).
inline constexpr uint32_t kRaggedDimsMax = 8;

// What one row of a column without a fixed form needs.
struct RowForm {
  uint64_t elements = 0;
  Dtype dtype = Dtype::kU8;
  uint8_t ndim = 1;
  std::array<uint64_t, kRaggedDimsMax> dims;
};

// How each column is made, for each data set of a mixture: [sources][columns]. At least one source.
using DecodesBySource = std::vector<std::vector<FieldDecode>>;

class RowReader {
 public:
  RowReader(const DecodesBySource& decodes, const std::vector<BatchRow>& rows);

  // Finds the row's fields and measures those that have no fixed form. Different rows from
  // different threads.
  Status measure(uint64_t row);
  // Writes the row of `column` at `out`. After measure().
  Status write(uint64_t row, size_t column, MutableBytes out, ImageScratch& scratch) const;

  Bytes stored(uint64_t row, size_t column) const {
    return stored_[row * columns_ + column];
  }
  const RowForm& form(uint64_t row, size_t column) const {
    return forms_[row * measured_count_ + measured_[column]];
  }
  // What a loose column has of the row; nothing: it has to be written. After measure().
  std::optional<Bytes> in_place(uint64_t row, size_t column) const;
  // Of a loose column write() is not called.
  void leave_out(size_t column) { left_out_[column] = true; }
  bool is_measured(size_t column) const { return measured_[column] != kNotMeasured; }

  // "assemble sample 17 (key 'a/b', shard 't-0.tar'): field 'jpg' as image: ..."
  Status in_context(uint64_t row, size_t column, const Status& status) const;
  std::string row_name(uint64_t row) const;
  // About how long measuring and writing the row takes, for cutting a batch into pieces of work.
  uint64_t measure_nanos(uint64_t row) const;
  uint64_t write_nanos(uint64_t row) const;

 private:
  static constexpr size_t kNotMeasured = ~size_t{0};
  const FieldDecode& decode(uint64_t row, size_t column) const { return decodes_[rows_[row].source][column]; }
  Status missing_field(uint64_t row, size_t column) const;

  const DecodesBySource& decodes_;
  const std::vector<BatchRow>& rows_;
  const size_t columns_;
  std::vector<size_t> measured_;  // of each column: its place among the measured ones
  size_t measured_count_ = 0;
  std::vector<bool> left_out_;  // [columns]
  std::vector<Bytes> stored_;   // [rows, columns]
  std::vector<RowForm> forms_;  // [rows, measured columns]
};

}  // namespace headrace
