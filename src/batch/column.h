// SPDX-License-Identifier: Apache-2.0
//
// A batch as the user gets it: columns over memory of one or two slots. Fixed columns are dense
// arrays [B, shape...]; ragged columns have values and offsets (row i is values[offsets[i],
// offsets[i+1]), in elements) and, for arrays of other than one dimension, the shape of each row.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "batch/loose_rows.h"
#include "batch/slot_pool.h"
#include "decode/field_decode.h"

namespace headrace {

struct Column {
  std::string name;
  FieldKind kind = FieldKind::kBytes;  // what the rows are: bytes, text, JSON, numbers, an image
  Dtype dtype = Dtype::kU8;
  bool ragged = false;
  Shape row_shape;             // fixed columns: of one row
  MutableBytes values;         // 64-byte aligned, C order
  std::span<int64_t> offsets;  // ragged columns: B + 1
  uint32_t ndim = 1;           // ragged columns: dimensions of each row
  std::span<int64_t> shapes;   // ragged columns with ndim != 1: [B, ndim]
  // A loose column (ragged kBytes, or arrays): row i is rows[i], not aligned, and `values` is empty.
  std::vector<Bytes> rows;
  bool loose() const { return !rows.empty(); }
};

struct BatchData {
  std::vector<Column> columns;
  uint64_t rows = 0;
  // Of the sample whose data the row holds; of a row that fills a bad sample's hole, the sample it
  // was filled from.
  std::span<int64_t> ids;
  Column sample_keys;  // ragged text
  std::span<int64_t> epochs;   // of that sample's source
  std::span<int32_t> sources;  // of a mixture: the data set of the sample that the row holds; else empty
  std::span<uint8_t>
      valid;  // 0: the row repeats another one (a filled hole, or padding at an epoch's end)
  uint64_t epoch = 0;
  uint64_t position = 0;
  std::vector<Slot> slots;  // own all of the above's memory but loose rows
  std::optional<LooseRows> loose;  // with a loose column

  const Column* find(std::string_view name) const {
    for (const Column& column : columns) {
      if (column.name == name) return &column;
    }
    return nullptr;
  }
  // At delivery: the bytes leave the budget and live until the user drops the batch.
  void detach() {
    for (Slot& slot : slots) slot.detach();
    if (loose) loose->memory->leave_budget();
  }
};

}  // namespace headrace
