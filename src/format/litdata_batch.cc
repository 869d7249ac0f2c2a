// SPDX-License-Identifier: Apache-2.0
//
// LitData 0.2.76's chunks of frames (litdata/streaming/framed_zstd.py): a directory, then zstd frames of so many items
// each. A frame is a stride of the index: what is read, checked and decoded at once.
#include <algorithm>

#include "base/checked.h"
#include "base/crc32c.h"
#include "base/endian.h"
#include "format/litdata.h"

namespace headrace {
namespace {

constexpr std::string_view kMagic{"LDFZ01\0\0", 8};
constexpr uint64_t kPrefixBytes = 24, kFrameBytes = 24;

std::string number(uint64_t n) { return std::to_string(n); }
Status bad(const std::string& cause) { return corrupt("index LitData chunk: " + cause); }

class BatchIndexer final : public Indexer {
 public:
  BatchIndexer(const LitDataIndex& index, uint64_t samples, uint64_t size, IndexerOptions options)
      : samples_(samples), size_(size), options_(options) {
    found_.samples = samples;
    for (const MdsColumn& c : index.columns) found_.fields.push_back({c.name, samples});
  }

  Result<IndexStep> next(Bytes bytes) override {
    if (size_ < kPrefixBytes) return bad(number(size_) + " bytes cannot hold a directory");
    const uint64_t end = options_.crc ? size_ : head_end_;
    if (bytes.size() > end - at_) return invalid_argument("index LitData chunk: bytes beyond " + number(end));
    if (options_.crc) object_crc_ = crc32c(bytes, object_crc_);
    while (!bytes.empty() && at_ < head_end_) {
      const auto n = static_cast<size_t>(std::min<uint64_t>(bytes.size(), head_end_ - at_));
      head_.append(as_text(bytes.first(n)));
      at_ += n;
      bytes = bytes.subspan(n);
      if (at_ == kPrefixBytes) HR_TRY(take_prefix());
      else if (at_ == head_end_) HR_TRY(take_table());
    }
    take_frames(bytes);
    at_ += bytes.size();
    if (at_ < head_end_ || (options_.crc && at_ < size_)) {
      return IndexStep{{at_, options_.crc ? size_ : head_end_}, std::nullopt};
    }
    if (options_.crc) found_.checksum = crc32c_text(object_crc_);
    return IndexStep{{size_, size_}, std::move(found_)};
  }

 private:
  uint32_t word(uint64_t at) const { return load_le<uint32_t>(head_.data() + at); }

  // magic, u16 version, u16 flags, u32 items, u32 items a frame, u32 frames
  Status take_prefix() {
    if (!std::string_view(head_).starts_with(kMagic)) return bad("it does not begin with LDFZ01");
    if (load_le<uint16_t>(head_.data() + 8) != 1) {
      return unsupported("index LitData chunk: version " + number(load_le<uint16_t>(head_.data() + 8)) + " of LDFZ");
    }
    rows_ = word(16);
    frames_ = word(20);
    if (word(12) != samples_) {
      return bad("it has " + number(word(12)) + " items, index.json says " + number(samples_));
    }
    if (rows_ == 0 || frames_ != (samples_ + rows_ - 1) / rows_) {
      return bad(number(frames_) + " frames of " + number(rows_) + " items are not its " + number(samples_));
    }
    if (!is_stride(rows_)) {
      return unsupported("index LitData chunk: frames of " + number(rows_) +
                         " items, at most 65536: write it with compression_batch_size=256, or " +
                         "with compression_level=\"sample\"");
    }
    found_.stride = rows_ * std::max<uint64_t>(1, options_.stride / rows_);
    head_end_ = kPrefixBytes + 4 * (samples_ + 1) + kFrameBytes * frames_;  // both < 2^32
    if (head_end_ <= size_) return {};
    return bad("its directory ends at byte " + number(head_end_) + " of " + number(size_));
  }

  // u32 first item, u32 items, u64 offset, u32 stored bytes, u32 plain bytes of each frame, one behind another.
  Status take_table() {
    uint64_t begin = head_end_;
    const uint64_t frames_a_stride = found_.stride / rows_;
    for (uint64_t f = 0; f < frames_; ++f) {
      const uint64_t at = kPrefixBytes + 4 * (samples_ + 1) + kFrameBytes * f;
      const uint64_t items = std::min(rows_, samples_ - f * rows_), stored = word(at + 16);
      if (word(at) != f * rows_ || word(at + 4) != items || load_le<uint64_t>(head_.data() + at + 8) != begin ||
          stored == 0 || stored > size_ - begin) {
        return bad("frame " + number(f) + " does not lie behind the one before it, inside the object");
      }
      if (f % frames_a_stride == 0) found_.borders.push_back(begin);
      begin += stored;
    }
    found_.borders.push_back(begin);
    std::string().swap(head_);
    return begin == size_ ? Status() : bad("its frames end at byte " + number(begin) + " of " + number(size_));
  }

  // CRC of whatever strides `bytes` (from at_ on, behind the directory) touches.
  void take_frames(Bytes bytes) {
    for (uint64_t at = at_; options_.crc && !bytes.empty();) {
      const uint64_t border = found_.borders[stride_ + 1];
      const auto n = static_cast<size_t>(std::min<uint64_t>(bytes.size(), border - at));
      stride_crc_ = crc32c(bytes.first(n), stride_crc_);
      at += n;
      bytes = bytes.subspan(n);
      if (at < border) return;
      found_.crcs.push_back(stride_crc_);
      stride_crc_ = 0;
      ++stride_;
    }
  }

  const uint64_t samples_, size_;
  const IndexerOptions options_;
  uint64_t head_end_ = kPrefixBytes;  // as far as it is known
  uint64_t rows_ = 0, frames_ = 0, at_ = 0;
  std::string head_;
  size_t stride_ = 0;
  uint32_t stride_crc_ = 0, object_crc_ = 0;
  ShardIndex found_;
};

}  // namespace

std::unique_ptr<Indexer> make_litdata_batch_indexer(const LitDataIndex& index, uint64_t samples, uint64_t object_size,
                                                    IndexerOptions options) {
  HR_ASSERT(samples < kShardSamplesMax);
  return std::make_unique<BatchIndexer>(index, samples, object_size, options);
}

}  // namespace headrace
