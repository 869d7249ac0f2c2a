// SPDX-License-Identifier: Apache-2.0
#include "loader/field_defaults.h"

#include "batch/schema_decode.h"
#include "format/shard_format.h"

namespace headrace {

Result<std::vector<FieldDecode>> default_fields(const DatasetIndex& index) {
  std::vector<FieldDecode> fields;
  HR_TRY_ASSIGN(const auto format, shard_format(index.format(), index.schema_json()));
  for (const MdsColumn& column : format->columns()) fields.push_back(decode_of_mds(column));
  if (!fields.empty()) return fields;
  for (const FieldEntry& entry : index.fields()) fields.push_back(decode_as_bytes(entry.name));
  return fields;
}

}  // namespace headrace
