// SPDX-License-Identifier: Apache-2.0
#include "batch/row_reader.h"

#include "decode/text.h"

namespace headrace {
namespace {

constexpr size_t kFieldsNamedMax = 20;

// Nanoseconds a row and a stored byte, measured on one 2.5 GHz core within a factor of 2: good
// enough to cut work by.
struct Cost {
  uint64_t row = 0;
  uint64_t per_kilobyte = 0;
};
Cost measure_cost(const FieldDecode& decode) {
  switch (decode.kind) {
    case FieldKind::kJson:
      return {100, 4000};
    case FieldKind::kText:
    case FieldKind::kDecimal:
      return {100, 300};
    case FieldKind::kImage:
    case FieldKind::kPngSamples:
    case FieldKind::kAudio:
      return fixed_form(decode) ? Cost{50, 0} : Cost{15'000, 0};
    case FieldKind::kNpy:
      return {500, 0};
    default:
      return {50, 0};
  }
}
Cost write_cost(const FieldDecode& decode) {
  switch (decode.kind) {
    case FieldKind::kImage:
      return {100'000, 15'000};
    case FieldKind::kPngSamples:
    case FieldKind::kAudio:
      return {20'000, 10'000};
    case FieldKind::kNpy:
    case FieldKind::kMdsArray:
      return {500, 150};
    case FieldKind::kInteger:
    case FieldKind::kFloat:
      return {100, 0};
    default:
      return {50, 100};
  }
}

}  // namespace

RowReader::RowReader(const DecodesBySource& decodes, const std::vector<BatchRow>& rows)
    : decodes_(decodes), rows_(rows), columns_(decodes[0].size()), measured_(columns_, kNotMeasured) {
  for (size_t c = 0; c < columns_; ++c) {
    if (!fixed_form(decodes[0][c])) measured_[c] = measured_count_++;
  }
  left_out_.resize(columns_);
  stored_.resize(rows.size() * columns_);
  forms_.resize(rows.size() * measured_count_);
}

Status RowReader::measure(uint64_t row) {
  const BatchRow& from = rows_[row];
  if (!from.fault.ok()) return from.fault.with_context("assemble " + row_name(row));
  const auto fields = from.sample.fields;
  for (size_t c = 0; c < columns_; ++c) {
    const FieldDecode& decode = this->decode(row, c);
    // Samples of a data set mostly have the same fields in the same places.
    const FieldView* found = c < fields.size() && fields[c].name == decode.field
                                 ? &fields[c]
                                 : from.sample.find(decode.field);
    if (found == nullptr) return missing_field(row, c);
    stored_[row * columns_ + c] = found->bytes;
    if (!is_measured(c)) continue;
    RowForm& form = forms_[row * measured_count_ + measured_[c]];
    if (decode.is_null(found->bytes) && (keeps_bytes(decode.kind) || decode.mds_form.flat)) {
      form.dtype = decode.mds_form.dtype.value_or(Dtype::kU8);
      continue;  // an empty row
    }
    if (keeps_bytes(decode.kind)) {
      const Status status = check_kept_bytes(decode.kind, found->bytes);
      if (!status.ok()) return in_context(row, c, status);
      form.elements = found->bytes.size();
      continue;
    }
    const Result<ValueForm> measured = measure_field(decode, found->bytes);
    if (!measured.ok()) return in_context(row, c, measured.status());
    const Shape& shape = measured.value().shape;
    if (shape.ndim() > kRaggedDimsMax) {
      return in_context(row, c,
                        unsupported("more than 8 dimensions in a ragged column: " + shape.text() +
                                    "; give the column its shape"));
    }
    form.dtype = measured.value().dtype;
    form.elements = measured.value().bytes / dtype_size(form.dtype);
    form.ndim = static_cast<uint8_t>(shape.ndim());
    for (uint32_t i = 0; i < shape.ndim(); ++i) form.dims[i] = shape[i];
  }
  return {};
}

std::optional<Bytes> RowReader::in_place(uint64_t row, size_t column) const {
  const FieldDecode& how = decode(row, column);
  if (how.kind == FieldKind::kBytes) return stored(row, column);
  return values_in_place(how, stored(row, column));
}

Status RowReader::write(uint64_t row, size_t column, MutableBytes out,
                        ImageScratch& scratch) const {
  const Status status =
      decode_field(decode(row, column), stored(row, column), rows_[row].random_key, out, scratch);
  return status.ok() ? status : in_context(row, column, status);
}

std::string RowReader::row_name(uint64_t row) const {
  const BatchRow& from = rows_[row];
  std::string name = "sample " + std::to_string(from.id);
  std::string more;
  if (!from.sample.key.empty()) more = "key " + quoted(as_bytes(from.sample.key));
  if (!from.shard.empty())
    more += (more.empty() ? "shard " : ", shard ") + quoted(as_bytes(from.shard));
  return more.empty() ? name : name + " (" + more + ")";
}

Status RowReader::in_context(uint64_t row, size_t column, const Status& status) const {
  const FieldDecode& how = decode(row, column);
  return status.with_context("assemble " + row_name(row) + ": field " + quoted(as_bytes(how.field)) + " as " +
                             std::string(field_kind_name(how.kind)));
}

Status RowReader::missing_field(uint64_t row, size_t column) const {
  std::string have;
  const auto fields = rows_[row].sample.fields;
  for (size_t i = 0; i < fields.size() && i < kFieldsNamedMax; ++i) {
    have += (i > 0 ? ", " : "") + quoted(as_bytes(fields[i].name));
  }
  if (fields.size() > kFieldsNamedMax) have += ", ...";
  return not_found("assemble " + row_name(row) + ": no field " +
                   quoted(as_bytes(decode(row, column).field)) + ": it has " +
                   (have.empty() ? "none" : have) +
                   "; leave the field out with columns=, or skip such samples with "
                   "on_bad_sample=\"skip\"");
}

uint64_t RowReader::measure_nanos(uint64_t row) const {
  // The fields are not found yet: all of them stand for the ones that are wanted.
  uint64_t bytes = 0, nanos = 0;
  for (const FieldView& field : rows_[row].sample.fields) bytes += field.bytes.size();
  for (const FieldDecode& decode : decodes_[rows_[row].source]) {
    const Cost cost = measure_cost(decode);
    nanos += cost.row + (cost.per_kilobyte * bytes >> 10);
  }
  return nanos;
}

uint64_t RowReader::write_nanos(uint64_t row) const {
  uint64_t nanos = 0;
  for (size_t c = 0; c < columns_; ++c) {
    if (left_out_[c]) continue;
    const Cost cost = write_cost(decode(row, c));
    nanos += cost.row + (cost.per_kilobyte * stored(row, c).size() >> 10);
  }
  return nanos;
}

}  // namespace headrace
