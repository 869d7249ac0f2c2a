// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>

#include "base/endian.h"
#include "format/parquet.h"

namespace headrace {
namespace {

constexpr uint64_t kEndBytes = 8;  // u32 footer length, magic
constexpr std::string_view kMagic = "PAR1", kMagicEncrypted = "PARE";

std::string number(uint64_t n) { return std::to_string(n); }

class ParquetIndexer final : public Indexer {
 public:
  explicit ParquetIndexer(uint64_t size) : size_(size) {
    want_ = {size - std::min(size, kParquetTailBytes), size};
  }

  Result<IndexStep> next(Bytes bytes) override {
    if (size_ < kEndBytes + kMagic.size()) {
      return corrupt("read Parquet file: " + number(size_) + " bytes are too few for one");
    }
    got_.append(as_text(bytes));
    if (got_.size() < want_.size()) return IndexStep{{want_.begin + got_.size(), want_.end}, {}};
    if (step_ == Step::kTail) return take_tail();
    if (step_ == Step::kIndexes) return finish();
    got_ += tail_;  // the rest of the footer, and what had been read
    want_.end = size_;
    return take_footer();
  }

 private:
  enum class Step { kTail, kFooter, kIndexes };

  // The footer may begin before what was read.
  Result<IndexStep> take_tail() {
    const std::string_view magic = std::string_view(got_).substr(got_.size() - kMagic.size());
    if (magic == kMagicEncrypted) return unsupported("read Parquet file: it is encrypted");
    if (magic != kMagic) return corrupt("read Parquet file: it does not end with PAR1: it is cut off, or no Parquet");
    const uint64_t footer_bytes = load_le<uint32_t>(got_.data() + got_.size() - kEndBytes);
    if (footer_bytes > kParquetFooterBytesMax) {
      return exhausted("read Parquet file: a footer of " + number(footer_bytes) + " bytes, at most " +
                       number(kParquetFooterBytesMax));
    }
    if (footer_bytes > size_ - kEndBytes - kMagic.size()) {
      return corrupt("read Parquet file: a footer of " + number(footer_bytes) + " bytes in a file of " + number(size_));
    }
    footer_begin_ = size_ - kEndBytes - footer_bytes;
    if (footer_begin_ < want_.begin) {
      tail_ = std::move(got_);
      return ask({footer_begin_, want_.begin}, Step::kFooter);
    }
    return take_footer();
  }

  Result<IndexStep> ask(ByteRange range, Step step) {
    want_ = range;
    step_ = step;
    got_.clear();
    return IndexStep{want_, {}};
  }

  Result<IndexStep> take_footer() {
    const Bytes read = as_bytes(got_);
    const uint64_t footer_bytes = size_ - kEndBytes - footer_begin_;
    const Bytes footer = read.subspan(footer_begin_ - want_.begin, footer_bytes);
    HR_TRY_ASSIGN(footer_, parse_parquet_footer(footer, footer_begin_));
    ByteRange all{UINT64_MAX, 0};
    for (const ByteRange& range : footer_.offset_indexes) {
      if (!range.empty()) all = {std::min(all.begin, range.begin), std::max(all.end, range.end)};
    }
    if (all.end == 0 || all.size() > kParquetPageIndexBytesMax) {
      footer_.offset_indexes.clear();
      return finish();
    }
    if (all.begin >= want_.begin) return finish();  // they are in the tail
    return ask(all, Step::kIndexes);
  }

  Result<IndexStep> finish() {
    const Bytes read = as_bytes(got_);
    size_t i = 0;
    for (UnitGroup& group : footer_.file.groups) {
      for (UnitChunk& chunk : group.chunks) {
        const ByteRange at = footer_.offset_indexes.empty() ? ByteRange{} : footer_.offset_indexes[i++];
        if (at.empty() || group.rows == 0) continue;
        HR_TRY(parse_offset_index(read.subspan(at.begin - want_.begin, at.size()), group.rows, chunk));
      }
      group.cuts = cut_units(group);
    }
    ShardIndex found;
    found.samples = footer_.file.rows();
    found.units = std::make_shared<const UnitFile>(std::move(footer_.file));
    return IndexStep{{}, std::move(found)};
  }

  const uint64_t size_;
  Step step_ = Step::kTail;
  ByteRange want_;
  std::string got_, tail_;
  uint64_t footer_begin_ = 0;
  ParquetFooter footer_;
};

}  // namespace

std::unique_ptr<Indexer> make_parquet_indexer(uint64_t object_size) {
  return std::make_unique<ParquetIndexer>(object_size);
}

}  // namespace headrace
