// SPDX-License-Identifier: Apache-2.0
#include "loader/field_defaults.h"

#include "batch/schema_decode.h"
#include "format/mds.h"

namespace headrace {

Result<std::vector<FieldDecode>> default_fields(const DatasetIndex& index) {
  std::vector<FieldDecode> fields;
  if (index.format() == Format::kMds) {
    HR_TRY_ASSIGN(const MdsSchema schema, MdsSchema::from_json(index.schema_json()));
    for (const MdsColumn& column : schema.columns) fields.push_back(decode_of_mds(column));
  } else {
    for (const FieldEntry& entry : index.fields()) fields.push_back(decode_as_bytes(entry.name));
  }
  return fields;
}

}  // namespace headrace
