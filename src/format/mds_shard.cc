// SPDX-License-Identifier: Apache-2.0
//
// A shard: u32 n, u32 offset[n + 1], a copy of the schema as JSON (never read: index.json rules),
// samples. A sample: u32 size for each variable column, then all columns, in column order. So
// samples can be cut one after another without the offsets.
#include <algorithm>

#include "base/checked.h"
#include "base/crc32c.h"
#include "base/endian.h"
#include "format/mds.h"

namespace headrace {
namespace {

std::string number(uint64_t n) { return std::to_string(n); }

class MdsIndexer final : public Indexer {
 public:
  MdsIndexer(const MdsShard& shard, const MdsSchema& schema, uint64_t object_size,
             IndexerOptions options)
      : samples_(shard.samples),
        stated_size_(shard.bytes),
        size_(object_size),
        table_end_(4 + 4 * (shard.samples + 1)),  // samples < 2^32
        options_(options) {
    found_.samples = samples_;
    found_.stride = options.stride;
    for (const MdsColumn& c : schema.columns) found_.fields.push_back({c.name, samples_});
  }

  Result<IndexStep> next(Bytes bytes) override {
    if (size_ != stated_size_) {
      return corrupt("read table of offsets: the object has " + number(size_) + " bytes, index.json says " +
                     number(stated_size_) + ": cut off, or of another version");
    }
    if (size_ < table_end_) {
      return corrupt("read table of offsets: " + number(size_) + " bytes cannot hold the offsets of " +
                     number(samples_) + " samples: cut off?");
    }
    const uint64_t end = options_.crc ? size_ : table_end_;
    if (bytes.size() > end - position_) {
      return invalid_argument("read table of offsets: given bytes beyond byte " + number(end));
    }
    if (options_.crc) object_crc_ = crc32c(bytes, object_crc_);
    if (position_ < table_end_) HR_TRY(take_table(bytes));
    if (options_.crc) take_samples(bytes);
    position_ += bytes.size();
    if (position_ == end) return finish();
    return IndexStep{{position_, end}, std::nullopt};
  }

 private:
  Status take_table(Bytes& bytes) {
    const uint64_t n = std::min<uint64_t>(bytes.size(), table_end_ - position_);
    table_.append(as_text(bytes.first(n)));  // at most the object's size: checked in next()
    position_ += n;
    bytes = bytes.subspan(n);
    return position_ < table_end_ ? Status() : read_table();
  }

  Status read_table() {
    const auto word = [this](uint64_t i) { return load_le<uint32_t>(table_.data() + 4 * i); };
    if (word(0) != samples_) {
      return corrupt("read table of offsets: it has " + number(word(0)) + " samples, index.json says " +
                     number(samples_));
    }
    if (word(1) < table_end_) {
      return corrupt("read table of offsets: sample 0 begins at byte " + number(word(1)) +
                     ", inside the offsets");
    }
    for (uint64_t i = 0; i < samples_; ++i) {
      const uint64_t begin = word(1 + i), end = word(2 + i);
      if (begin >= end) {
        return corrupt("read table of offsets: sample " + number(i) + " has the offsets " +
                       number(begin) + " and " + number(end));
      }
      if (i % options_.stride == 0) found_.borders.push_back(begin);
    }
    found_.borders.push_back(word(1 + samples_));
    if (found_.borders.back() != size_) {
      return corrupt("read table of offsets: samples end at byte " + number(found_.borders.back()) +
                     ", the object has " + number(size_) + ": cut off?");
    }
    std::string().swap(table_);
    return {};
  }

  // CRC of whatever strides `bytes` (from position_ on) touches.
  void take_samples(Bytes bytes) {
    uint64_t at = position_;
    if (at < table_end_) return;
    while (!bytes.empty() && stride_ < found_.borders.size()) {
      const uint64_t border =
          found_.borders[stride_];  // where stride stride_ begins and the one before it ends
      const uint64_t n = std::min<uint64_t>(bytes.size(), border - at);
      if (stride_ > 0) stride_crc_ = crc32c(bytes.first(n), stride_crc_);
      at += n;
      bytes = bytes.subspan(n);
      if (at < border) return;
      if (stride_ > 0) found_.crcs.push_back(stride_crc_);
      stride_crc_ = 0;
      ++stride_;
    }
  }

  Result<IndexStep> finish() {
    if (options_.crc) found_.checksum = crc32c_text(object_crc_);
    return IndexStep{{size_, size_}, std::move(found_)};
  }

  const uint64_t samples_;
  const uint64_t stated_size_;
  const uint64_t size_;
  const uint64_t table_end_;
  const IndexerOptions options_;
  uint64_t position_ = 0;
  std::string table_;
  uint64_t stride_ = 0;  // the border that comes next
  uint32_t stride_crc_ = 0;
  uint32_t object_crc_ = 0;
  ShardIndex found_;
};

}  // namespace

std::unique_ptr<Indexer> make_mds_indexer(const MdsShard& shard, const MdsSchema& schema,
                                          uint64_t object_size, IndexerOptions options) {
  HR_ASSERT(shard.samples < kShardSamplesMax);
  HR_ASSERT(is_stride(options.stride));
  return std::make_unique<MdsIndexer>(shard, schema, object_size, options);
}

MdsCutter::MdsCutter(MdsSchema schema) : schema_(std::move(schema)) {
  for (const MdsColumn& c : schema_.columns) {
    variable_ += c.encoding.fixed_bytes == 0;
    fixed_bytes_ += c.encoding.fixed_bytes;  // at most 1,024 x 4 GiB
  }
}

Status MdsCutter::cut(Bytes bytes, uint64_t rows, SampleBatchView& out) const {
  const size_t before = out.size();
  const auto fail = [&](const std::string& cause) {
    const uint64_t row = out.size() - before - (out.size() > before);
    out.truncate(before);
    return corrupt("cut MDS, row " + number(row) + ": " + cause);
  };
  for (uint64_t row = 0; row < rows; ++row) {
    out.begin_sample({});
    const uint64_t heads = 4 * uint64_t{variable_};
    if (bytes.size() < heads) return fail("the bytes end inside its column sizes");
    const std::byte* size_at = bytes.data();
    bytes = bytes.subspan(heads);
    uint32_t id = 0;
    for (const MdsColumn& c : schema_.columns) {
      uint64_t size = c.encoding.fixed_bytes;
      if (size == 0) {
        size = load_le<uint32_t>(size_at);
        size_at += 4;
      }
      if (size > bytes.size()) {
        return fail("column \"" + c.name + "\" has " + number(size) + " bytes, " +
                    number(bytes.size()) + " are left");
      }
      out.add_field({c.name, bytes.first(size), id++});
      bytes = bytes.subspan(size);
    }
  }
  if (!bytes.empty()) return fail(number(bytes.size()) + " bytes are left after the last sample");
  return {};
}

Status begins_by_sizes(Bytes bytes, uint64_t rows, uint64_t sizes, uint64_t fixed_bytes,
                       std::vector<uint32_t>& begins) {
  begins.resize(rows);
  uint64_t at = 0;
  for (uint64_t row = 0; row < rows; ++row) {
    if (bytes.size() - at < 4 * sizes) return corrupt("find rows: the bytes end inside row " + number(row));
    begins[row] = static_cast<uint32_t>(at);
    uint64_t size = 4 * sizes + fixed_bytes;  // up to 1,024 columns of 4 GiB
    for (uint64_t i = 0; i < sizes; ++i) size += load_le<uint32_t>(bytes.data() + at + 4 * i);
    if (size > bytes.size() - at) return corrupt("find rows: the bytes end inside row " + number(row));
    at += size;
  }
  if (at == bytes.size()) return {};
  return corrupt("find rows: " + number(bytes.size() - at) + " bytes are left after the last row");
}

Status MdsCutter::find_rows(const CutPlace&, Bytes bytes, uint64_t rows, std::vector<uint32_t>& begins) const {
  return begins_by_sizes(bytes, rows, variable_, fixed_bytes_, begins);
}

}  // namespace headrace
