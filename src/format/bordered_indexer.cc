// SPDX-License-Identifier: Apache-2.0
#include "format/bordered_indexer.h"

#include <algorithm>

#include "base/crc32c.h"

namespace headrace {
namespace {

class BorderedIndexer final : public Indexer {
 public:
  BorderedIndexer(ShardIndex found, uint64_t size, bool crc)
      : size_(size), end_(crc ? size : 0), found_(std::move(found)) {}

  Result<IndexStep> next(Bytes bytes) override {
    if (found_.borders.back() > size_) {
      return corrupt("index shard: its samples end at byte " + std::to_string(found_.borders.back()) + " of " +
                     std::to_string(size_));
    }
    if (bytes.size() > end_ - at_) return invalid_argument("index shard: given bytes beyond " + std::to_string(end_));
    object_crc_ = crc32c(bytes, object_crc_);
    while (!bytes.empty()) {
      const uint64_t border = border_ < found_.borders.size() ? found_.borders[border_] : size_;
      const auto n = static_cast<size_t>(std::min<uint64_t>(bytes.size(), border - at_));
      stride_crc_ = crc32c(bytes.first(n), stride_crc_);
      at_ += n;
      bytes = bytes.subspan(n);
      take_borders();
    }
    if (at_ < end_) return IndexStep{{at_, end_}, std::nullopt};
    if (end_ > 0) found_.checksum = crc32c_text(object_crc_);
    return IndexStep{{size_, size_}, std::move(found_)};
  }

 private:
  // Past the borders that were reached; what lies before the first one belongs to no sample.
  void take_borders() {
    while (border_ < found_.borders.size() && found_.borders[border_] == at_) {
      if (border_++ > 0) found_.crcs.push_back(stride_crc_);
      stride_crc_ = 0;
    }
  }

  const uint64_t size_, end_;
  uint64_t at_ = 0;
  size_t border_ = 0;
  uint32_t stride_crc_ = 0, object_crc_ = 0;
  ShardIndex found_;
};

}  // namespace

std::unique_ptr<Indexer> make_bordered_indexer(ShardIndex found, uint64_t object_size, bool crc) {
  HR_ASSERT(!found.borders.empty());
  return std::make_unique<BorderedIndexer>(std::move(found), object_size, crc);
}

}  // namespace headrace
