// SPDX-License-Identifier: Apache-2.0
#include "batch/layout.h"

namespace headrace {
namespace {

// A batch above this is a mistake in sizes, not data; keeps every sum below in 63 bits.
constexpr uint64_t kBatchBytesMax = 1ull << 46;

Shape shape_of(const RowForm& form) {
  Shape shape;
  for (uint32_t i = 0; i < form.ndim; ++i) HR_ASSERT(shape.append(form.dims[i]));
  return shape;
}

// Parts one after another, each aligned.
class Parts {
 public:
  explicit Parts(std::byte* base) : base_(base) {}
  template <class T>
  std::span<T> take(uint64_t count) {
    T* at = reinterpret_cast<T*>(base_ + at_);
    add(count * sizeof(T));
    return {at, count};
  }
  void add(uint64_t bytes) {
    at_ += (bytes + kSlotAlignment - 1) / kSlotAlignment * kSlotAlignment;
  }
  uint64_t size() const { return at_; }

 private:
  std::byte* base_;
  uint64_t at_ = 0;
};

}  // namespace

BatchLayout::BatchLayout(const std::vector<FieldDecode>& decodes, const std::vector<BatchRow>& rows,
                         const RowReader& reader, std::vector<Status>& faults, bool mixed)
    : decodes_(decodes), rows_(rows), reader_(reader), mixed_(mixed), forms_(decodes.size()) {
  for (size_t c = 0; c < decodes.size(); ++c) {
    if (const auto fixed = fixed_form(decodes[c])) {
      forms_[c].dtype = fixed->dtype;
      forms_[c].shape = fixed->shape;
    } else {
      agree_on_form(c, faults);
    }
  }
}

void BatchLayout::agree_on_form(size_t column, std::vector<Status>& faults) {
  ColumnForm& form = forms_[column];
  form.ragged = true;
  if (keeps_bytes(decodes_[column].kind)) return;
  const RowForm* first = nullptr;
  uint64_t first_row = 0;
  bool all_as_wanted = decodes_[column].shape.has_value();
  for (uint64_t row = 0; row < rows_.size(); ++row) {
    if (!faults[row].ok()) continue;
    const RowForm& here = reader_.form(row, column);
    if (first == nullptr) {
      first = &here;
      first_row = row;
    } else if (here.dtype != first->dtype || here.ndim != first->ndim) {
      faults[row] = reader_.in_context(
          row, column,
          corrupt(std::string(dtype_name(here.dtype)) + " of shape " + shape_of(here).text() +
                  " cannot stand in a column with " + reader_.row_name(first_row) + ": " +
                  std::string(dtype_name(first->dtype)) + " of shape " + shape_of(*first).text() +
                  "; decode the field as bytes"));
      continue;
    }
    all_as_wanted = all_as_wanted && shape_of(here) == *decodes_[column].shape;
  }
  if (first == nullptr) return;
  form.dtype = first->dtype;
  form.ndim = first->ndim;
  if (all_as_wanted) {
    form.ragged = false;
    form.shape = *decodes_[column].shape;
  }
}

void BatchLayout::join_all() {
  for (ColumnForm& form : forms_) form.loose = false;
}

Status BatchLayout::measure(const std::vector<uint64_t>& sources) {
  const uint64_t n = rows_.size();
  Parts fixed(nullptr), ragged(nullptr);
  fixed.add(n * sizeof(int64_t));  // ids
  fixed.add(n * sizeof(int64_t));  // epochs
  fixed.add(n);                    // valid
  if (mixed_) fixed.add(n * sizeof(int32_t));
  key_bytes_ = 0;
  for (uint64_t source : sources) key_bytes_ += rows_[source].sample.key.size();
  ragged.add((n + 1) * sizeof(int64_t));
  ragged.add(key_bytes_);
  for (size_t c = 0; c < forms_.size(); ++c) {
    ColumnForm& form = forms_[c];
    std::optional<uint64_t> elements = 0;
    if (form.ragged) {
      for (uint64_t source : sources) {
        if (elements) elements = checked_add(*elements, reader_.form(source, c).elements);
      }
    } else {
      elements = form.shape.elements();
      if (elements) elements = checked_mul(*elements, n);
    }
    const auto bytes = elements ? checked_mul(*elements, dtype_size(form.dtype)) : std::nullopt;
    if (!bytes || *bytes > kBatchBytesMax || fixed.size() + ragged.size() > kBatchBytesMax) {
      return exhausted("lay out a batch of " + std::to_string(n) + " rows: column '" +
                       decodes_[c].column + "' is larger than " + std::to_string(kBatchBytesMax) +
                       " bytes; use a smaller batch_size");
    }
    form.bytes = *bytes;
    if (form.ragged) {
      ragged.add((n + 1) * sizeof(int64_t));
      if (form.ndim != 1) ragged.add(n * form.ndim * sizeof(int64_t));
    }
    if (form.loose) form.bytes = 0;
    (form.ragged || form.late ? ragged : fixed).add(form.bytes);
  }
  fixed_bytes_ = fixed.size();
  ragged_bytes_ = ragged.size();
  return {};
}

void BatchLayout::place_fixed(MutableBytes memory, BatchData& batch) const {
  HR_ASSERT(memory.size() >= fixed_bytes_);
  Parts parts(memory.data());
  batch.rows = rows_.size();
  batch.ids = parts.take<int64_t>(batch.rows);
  batch.epochs = parts.take<int64_t>(batch.rows);
  batch.valid = parts.take<uint8_t>(batch.rows);
  if (mixed_) batch.sources = parts.take<int32_t>(batch.rows);
  batch.columns.resize(forms_.size());
  for (size_t c = 0; c < forms_.size(); ++c) {
    Column& column = batch.columns[c];
    column.name = decodes_[c].column;
    column.kind = decodes_[c].kind;
    column.dtype = forms_[c].dtype;
    column.ragged = forms_[c].ragged;
    if (column.ragged) continue;
    column.row_shape = forms_[c].shape;
    if (!forms_[c].late) column.values = parts.take<std::byte>(forms_[c].bytes);
  }
}

void BatchLayout::place_ragged(MutableBytes memory, const std::vector<uint64_t>& sources,
                               BatchData& batch) const {
  HR_ASSERT(memory.size() >= ragged_bytes_);
  Parts parts(memory.data());
  const uint64_t n = rows_.size();
  Column& keys = batch.sample_keys;
  keys.name = "sample_keys";
  keys.kind = FieldKind::kText;
  keys.ragged = true;
  keys.offsets = parts.take<int64_t>(n + 1);
  keys.values = parts.take<std::byte>(key_bytes_);
  keys.offsets[0] = 0;
  for (uint64_t row = 0; row < n; ++row) {
    const auto length = static_cast<int64_t>(rows_[sources[row]].sample.key.size());
    keys.offsets[row + 1] = keys.offsets[row] + length;
  }
  for (size_t c = 0; c < forms_.size(); ++c) {
    const ColumnForm& form = forms_[c];
    if (!form.ragged && !form.late) continue;
    Column& column = batch.columns[c];
    column.rows.clear();
    if (!form.ragged) {
      column.values = parts.take<std::byte>(form.bytes);
      continue;
    }
    column.ndim = form.ndim;
    column.offsets = parts.take<int64_t>(n + 1);
    if (form.ndim != 1) column.shapes = parts.take<int64_t>(n * form.ndim);
    column.values = parts.take<std::byte>(form.bytes);
    column.offsets[0] = 0;
    for (uint64_t row = 0; row < n; ++row) {
      const RowForm& here = reader_.form(sources[row], c);
      column.offsets[row + 1] = column.offsets[row] + static_cast<int64_t>(here.elements);
      for (uint32_t i = 0; i < form.ndim && form.ndim != 1; ++i) {
        column.shapes[row * form.ndim + i] = static_cast<int64_t>(here.dims[i]);
      }
    }
  }
}

MutableBytes BatchLayout::row_of(const Column& column, uint64_t rows, uint64_t row) {
  if (!column.ragged) {
    const uint64_t bytes = column.values.size() / rows;
    return column.values.subspan(row * bytes, bytes);
  }
  const auto begin = static_cast<uint64_t>(column.offsets[row]);
  const auto end = static_cast<uint64_t>(column.offsets[row + 1]);
  const uint64_t size = dtype_size(column.dtype);
  return column.values.subspan(begin * size, (end - begin) * size);
}

}  // namespace headrace
