// SPDX-License-Identifier: Apache-2.0
//
// Which cutter reads which format: the one place that knows all of them.
#include "format/dataset_index.h"
#include "format/mds.h"
#include "format/sample.h"
#include "format/webdataset.h"

namespace headrace {

Result<std::shared_ptr<const Cutter>> make_cutter(const DatasetIndex& index) {
  switch (index.format()) {
    case Format::kWebDataset:
      return std::shared_ptr<const Cutter>(std::make_shared<WebDatasetCutter>(index.fields()));
    case Format::kMds: {
      HR_TRY_ASSIGN(MdsSchema schema, MdsSchema::from_json(index.schema_json()));
      return std::shared_ptr<const Cutter>(std::make_shared<MdsCutter>(std::move(schema)));
    }
    case Format::kParquet:
      return std::shared_ptr<const Cutter>();  // decoded in units: fetch/unit_source.h
  }
  return unsupported("open data set: no reader for format number " +
                     std::to_string(static_cast<uint32_t>(index.format())));
}

}  // namespace headrace
