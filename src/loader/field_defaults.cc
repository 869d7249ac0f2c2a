// SPDX-License-Identifier: Apache-2.0
#include "loader/field_defaults.h"

#include "batch/schema_decode.h"
#include "format/shard_format.h"
#include "format/unit_table.h"

namespace headrace {

namespace {

FieldDecode decode_of_unit(const UnitField& field) {
  FieldDecode decode = decode_as_bytes(field.name);
  decode.dtype = dtype_of_name(field.dtype);
  switch (field.value) {
    case UnitValue::kScalar:
      decode.kind = FieldKind::kScalar;
      if (field.dtype == "float32" || field.dtype == "float64" || field.dtype == "float16") decode.null_is_nan = true;
      break;
    case UnitValue::kText: decode.kind = FieldKind::kText; break;
    case UnitValue::kDecimal: decode.kind = FieldKind::kDecimal; break;
    case UnitValue::kJson: decode.kind = FieldKind::kJson; break;
    case UnitValue::kList:
      decode.kind = FieldKind::kMdsArray;
      decode.mds_form.dtype = decode.dtype;
      decode.mds_form.flat = true;
      break;
    case UnitValue::kArray:
      decode.kind = FieldKind::kMdsArray;
      decode.mds_form.dtype = decode.dtype;
      decode.shape = decode.mds_form.shape = Shape{field.length};
      break;
    case UnitValue::kBytes: break;
  }
  decode.nullable = true;
  return decode;
}

}  // namespace

Result<std::vector<FieldDecode>> default_fields(const DatasetIndex& index) {
  std::vector<FieldDecode> fields;
  if (index.units()) {
    for (const UnitField& field : index.units()->fields()) fields.push_back(decode_of_unit(field));
    return fields;
  }
  HR_TRY_ASSIGN(const auto format, shard_format(index.format(), index.schema_json()));
  for (const MdsColumn& column : format->columns()) fields.push_back(decode_of_mds(column));
  if (!fields.empty()) return fields;
  for (const FieldEntry& entry : index.fields()) fields.push_back(decode_as_bytes(entry.name));
  return fields;
}

}  // namespace headrace
