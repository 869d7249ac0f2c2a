// SPDX-License-Identifier: Apache-2.0
#include "format/dataset_index.h"

#include <algorithm>
#include <bit>
#include <cstdio>

#include "base/crc32c.h"
#include "format/unit_table.h"

namespace headrace {
namespace {

// Goes into the order hash: what "sample 17" means changes when a format's grouping rules change.
constexpr uint64_t kFormatVersion = 1;

std::string number(uint64_t n) { return std::to_string(n); }
std::string hex32(uint32_t n) {
  char text[16];
  std::snprintf(text, sizeof text, "%08x", n);
  return text;
}

uint64_t strides_for(uint64_t samples, uint64_t stride) { return (samples + stride - 1) / stride; }

}  // namespace

std::string crc32c_text(uint32_t crc) { return "crc32c:" + hex32(crc); }

uint64_t stride_for_mean_bytes(uint64_t mean_bytes) {
  return std::clamp(std::bit_floor(kStrideBytes / std::max<uint64_t>(mean_bytes, 1)), uint64_t{1},
                    kStrideMax);
}

std::vector<uint64_t> DatasetIndex::counts() const {
  std::vector<uint64_t> counts;
  counts.reserve(shards_.size());
  for (const ShardEntry& s : shards_) counts.push_back(s.samples);
  return counts;
}

uint64_t DatasetIndex::row_end(uint64_t shard, uint64_t stride) const {
  return std::min((stride + 1) * stride_, shards_[shard].samples);
}

ByteRange DatasetIndex::stride_range(uint64_t shard, uint64_t stride) const {
  HR_ASSERT(shard < shards_.size() && stride < strides(shard));
  const uint64_t* border = &borders_[border_at(shard) + stride];
  return {border[0], border[1]};
}

uint32_t DatasetIndex::stride_crc(uint64_t shard, uint64_t stride) const {
  HR_ASSERT(shard < shards_.size() && stride < strides(shard) && !crcs_.empty());
  return crcs_[first_stride_[shard] + stride];
}

ByteRange DatasetIndex::range_of_rows(uint64_t shard, uint64_t row_begin, uint64_t row_end) const {
  HR_ASSERT(shard < shards_.size() && row_begin < row_end && row_end <= shards_[shard].samples);
  const uint64_t* borders = &borders_[border_at(shard)];
  return {borders[row_begin / stride_], borders[strides_for(row_end, stride_)]};
}

ByteRange DatasetIndex::data_range(uint64_t shard) const {
  HR_ASSERT(shard < shards_.size());
  return {borders_[border_at(shard)], borders_[border_at(shard) + strides(shard)]};
}

Status DatasetIndex::verify(uint64_t shard, uint64_t first_stride, uint64_t n, Bytes bytes) const {
  if (crcs_.empty()) return {};
  for (uint64_t k = first_stride; k < first_stride + n; ++k) {
    const ByteRange range = stride_range(shard, k);
    HR_ASSERT(range.size() <= bytes.size());
    const uint32_t crc = crc32c(bytes.first(range.size()));
    if (crc != stride_crc(shard, k)) {
      return corrupt("verify " + shards_[shard].key + " bytes " + range.text() + " (rows " +
                     number(row_begin(k)) + " to " + number(row_end(shard, k) - 1) +
                     "): crc32c is " + hex32(crc) + ", the index says " +
                     hex32(stride_crc(shard, k)) +
                     "; the object is damaged or was changed after indexing");
    }
    bytes = bytes.subspan(range.size());
  }
  return {};
}

Hash128 DatasetIndex::order_hash() const {
  FieldHasher hasher;
  hasher.add("headrace order").add(format_name(format_)).add(kFormatVersion).add(shards_.size());
  for (const ShardEntry& s : shards_) hasher.add(s.key).add(s.size).add(s.samples);
  if (units_) hasher.add(units_->cut_hash().hex());  // the order deals with units
  return hasher.hash();
}

Hash128 DatasetIndex::identity_hash() const {
  FieldHasher hasher;
  hasher.add("headrace identity").add(shards_.size());
  for (const ShardEntry& s : shards_) hasher.add(s.etag).add(s.version_id).add(s.checksum);
  return hasher.hash();
}

DatasetIndex DatasetIndex::coarsened(uint64_t stride) const {
  HR_ASSERT(is_stride(stride) && stride % stride_ == 0);
  DatasetIndex coarse = *this;
  if (stride == stride_) return coarse;
  coarse.stride_ = stride;
  coarse.borders_.clear();
  coarse.crcs_.clear();
  for (uint64_t s = 0; s < shards_.size(); ++s) {
    ShardIndex fine;
    fine.stride = stride_;
    const auto border = borders_.begin() + static_cast<ptrdiff_t>(border_at(s));
    fine.borders.assign(border, border + static_cast<ptrdiff_t>(strides(s) + 1));
    if (!crcs_.empty()) {
      const auto crc = crcs_.begin() + static_cast<ptrdiff_t>(first_stride_[s]);
      fine.crcs.assign(crc, crc + static_cast<ptrdiff_t>(strides(s)));
    }
    const ShardIndex found = coarsened_shard(std::move(fine), stride);
    coarse.borders_.insert(coarse.borders_.end(), found.borders.begin(), found.borders.end());
    coarse.crcs_.insert(coarse.crcs_.end(), found.crcs.begin(), found.crcs.end());
  }
  coarse.count_up();
  return coarse;
}

// The sums that follow from shards_ and borders_.
void DatasetIndex::count_up() {
  samples_ = sample_bytes_ = 0;
  first_stride_.assign(1, 0);
  if (units_) {
    for (const ShardEntry& s : shards_) samples_ += s.samples;
    sample_bytes_ = units_->stored_bytes();
    first_stride_.assign(shards_.size() + 1, 0);
    return;
  }
  for (uint64_t s = 0; s < shards_.size(); ++s) {
    samples_ += shards_[s].samples;
    first_stride_.push_back(first_stride_.back() + strides_for(shards_[s].samples, stride_));
    sample_bytes_ += data_range(s).size();
  }
}

bool DatasetIndex::has_checksums() const { return units_ != nullptr ? units_->has_crc() : has_crc(); }

uint64_t DatasetIndex::memory_bytes() const {
  uint64_t bytes = sizeof *this + schema_json_.capacity();
  bytes += borders_.capacity() * 8 + crcs_.capacity() * 4 + first_stride_.capacity() * 8;
  for (const ShardEntry& s : shards_) {
    bytes += sizeof s + s.key.capacity() + s.etag.capacity() + s.version_id.capacity() +
             s.checksum.capacity();
  }
  for (const FieldEntry& f : fields_) bytes += sizeof f + f.name.capacity();
  return bytes;
}

Status check_listing(const DatasetIndex& index, const std::vector<ShardEntry>& listed,
                     bool trust_copy) {
  const auto& known = index.shards();
  const auto differs = [](const std::string& what, const std::string& mine,
                          const std::string& now) {
    return precondition_failed(
        "check index: " + what + ": the index says " + mine + ", the store says " + now +
        "; the data set changed or the index is another data set's: build a new index");
  };
  if (known.size() != listed.size()) {
    return differs("number of shards", number(known.size()), number(listed.size()));
  }
  for (uint64_t s = 0; s < known.size(); ++s) {
    const ShardEntry &a = known[s], &b = listed[s];
    const std::string shard = "shard " + number(s);
    if (a.key != b.key) return differs(shard, "\"" + a.key + "\"", "\"" + b.key + "\"");
    if (a.size != b.size) {
      return differs(shard + " \"" + a.key + "\" size", number(a.size), number(b.size));
    }
    if (trust_copy) continue;
    if (a.etag != b.etag && !a.etag.empty() && !b.etag.empty()) {
      return differs(shard + " \"" + a.key + "\" ETag", a.etag, b.etag);
    }
    if (a.version_id != b.version_id && !a.version_id.empty() && !b.version_id.empty()) {
      return differs(shard + " \"" + a.key + "\" version", a.version_id, b.version_id);
    }
  }
  return {};
}

}  // namespace headrace
