// SPDX-License-Identifier: Apache-2.0
#include "format/parquet.h"

namespace headrace {
namespace {

class ParquetFormat final : public ShardFormat {
 public:
  Format format() const override { return Format::kParquet; }
  bool by_units() const override { return true; }
  bool indexed_by_reading() const override { return false; }
  bool streams() const override { return false; }
  std::shared_ptr<const Cutter> cutter(const std::vector<FieldEntry>&) const override { return nullptr; }
  std::unique_ptr<Indexer> indexer(uint64_t, const ShardEntry& entry, IndexerOptions) const override {
    return make_parquet_indexer(entry.size);
  }
  // Refused before anybody asks (dataset.cc).
  std::unique_ptr<SampleScanner> scanner(uint64_t, const ScanStart&) const override { return nullptr; }
};

}  // namespace

std::shared_ptr<const ShardFormat> make_parquet_format() { return std::make_shared<ParquetFormat>(); }

}  // namespace headrace
