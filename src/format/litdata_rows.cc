// SPDX-License-Identifier: Apache-2.0
//
// LitData 0.2.76's chunks of JSON-like rows: the usual table of offsets (all empty), then an Arrow file or stream of
// the rows, u32 its length, "LDARW01". To everybody else such a data set is one of Arrow files that lie inside objects.
#include <algorithm>

#include "base/endian.h"
#include "format/arrow_ipc.h"
#include "format/litdata.h"

namespace headrace {
namespace {

constexpr uint64_t kTailBytes = 12;

std::string number(uint64_t n) { return std::to_string(n); }

class RowsIndexer final : public Indexer {
 public:
  RowsIndexer(uint64_t samples, uint64_t size) : samples_(samples), size_(size) {}

  Result<IndexStep> next(Bytes bytes) override {
    if (arrow_) return checked(arrow_->next(bytes));
    if (size_ < kTailBytes) return corrupt("index LitData chunk: " + number(size_) + " bytes are too few");
    tail_.append(as_text(bytes));
    if (tail_.size() < kTailBytes) return IndexStep{{size_ - kTailBytes + tail_.size(), size_}, {}};
    if (!is_litdata_rows(as_bytes(tail_))) {
      return corrupt("index LitData chunk: it does not end with LDARW01: it is cut off, or of other samples");
    }
    const uint64_t rows = load_le<uint32_t>(tail_.data()), head = 4 * (samples_ + 2);
    if (rows > size_ - kTailBytes || size_ - kTailBytes - rows < head) {
      return corrupt("index LitData chunk: rows of " + number(rows) + " bytes behind a table of " + number(head) +
                     " in an object of " + number(size_));
    }
    arrow_ = make_arrow_indexer({size_ - kTailBytes - rows, size_ - kTailBytes});
    return checked(arrow_->next({}));
  }

 private:
  Result<IndexStep> checked(Result<IndexStep> step) const {
    if (!step.ok() || !step->done || step->done->samples == samples_) return step;
    return corrupt("index LitData chunk: it has " + number(step->done->samples) + " rows, index.json says " +
                   number(samples_));
  }

  const uint64_t samples_, size_;
  std::string tail_;
  std::unique_ptr<Indexer> arrow_;
};

class LitDataRowsFormat final : public ShardFormat {
 public:
  explicit LitDataRowsFormat(std::vector<MdsShard> chunks) : chunks_(std::move(chunks)) {}
  Format format() const override { return Format::kArrow; }
  bool by_units() const override { return true; }
  bool indexed_by_reading() const override { return false; }
  bool streams() const override { return false; }
  std::shared_ptr<const Cutter> cutter(const std::vector<FieldEntry>&) const override { return nullptr; }
  std::unique_ptr<Indexer> indexer(uint64_t shard, const ShardEntry& entry, IndexerOptions) const override {
    HR_ASSERT(shard < chunks_.size());
    return std::make_unique<RowsIndexer>(chunks_[shard].samples, entry.size);
  }
  std::unique_ptr<SampleScanner> scanner(uint64_t, const ScanStart&) const override { return nullptr; }

 private:
  const std::vector<MdsShard> chunks_;
};

}  // namespace

bool is_litdata_rows(Bytes tail) { return as_text(tail).ends_with(std::string_view("LDARW01\0", 8)); }

std::shared_ptr<const ShardFormat> make_litdata_rows_format(const LitDataIndex& index) {
  return std::make_shared<LitDataRowsFormat>(index.chunks);
}

}  // namespace headrace
