// SPDX-License-Identifier: Apache-2.0
#include "format/dataset_index.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <unordered_map>

#include "base/crc32c.h"

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
bool is_stride(uint64_t k) { return k <= kStrideMax && std::has_single_bit(k); }

// n strides from `first` on as one: its CRC from theirs.
uint32_t joined_crc(const uint32_t* crcs, const uint64_t* borders, uint64_t n) {
  uint32_t crc = crcs[0];
  for (uint64_t i = 1; i < n; ++i) crc = crc32c_join(crc, crcs[i], borders[i + 1] - borders[i]);
  return crc;
}

ShardIndex coarsened_shard(ShardIndex fine, uint64_t stride) {
  if (fine.stride == stride) return fine;
  ShardIndex coarse = std::move(fine);
  const uint64_t ratio = stride / coarse.stride;
  const uint64_t fine_strides = coarse.borders.size() - 1;
  uint64_t k = 0;
  for (uint64_t i = 0; i < fine_strides; i += ratio, ++k) {  // in place: k <= i
    const uint64_t n = std::min(ratio, fine_strides - i);
    if (!coarse.crcs.empty()) coarse.crcs[k] = joined_crc(&coarse.crcs[i], &coarse.borders[i], n);
    coarse.borders[k] = coarse.borders[i];
  }
  coarse.borders[k] = coarse.borders[fine_strides];
  coarse.borders.resize(k + 1);
  if (!coarse.crcs.empty()) coarse.crcs.resize(k);
  coarse.stride = stride;
  return coarse;
}

Status check_found(const ShardIndex& found, uint64_t size) {
  if (!is_stride(found.stride))
    return corrupt("stride " + number(found.stride) + " is not a power of two up to " +
                   number(kStrideMax));
  if (found.samples > kShardSamplesMax)
    return exhausted("more than " + number(kShardSamplesMax) + " samples in one shard");
  const uint64_t strides = strides_for(found.samples, found.stride);
  if (found.borders.size() != strides + 1 ||
      (!found.crcs.empty() && found.crcs.size() != strides)) {
    return corrupt(number(found.samples) + " samples at stride " + number(found.stride) +
                   " do not fit " + number(found.borders.size()) + " borders and " +
                   number(found.crcs.size()) + " checksums");
  }
  for (uint64_t k = 0; k < strides; ++k) {
    if (found.borders[k] >= found.borders[k + 1])
      return corrupt("stride " + number(k) + " does not end after its begin");
  }
  if (found.borders.back() > size) {
    return corrupt("samples end at byte " + number(found.borders.back()) + ", the object has " +
                   number(size));
  }
  return {};
}

}  // namespace

std::string_view format_name(Format format) {
  switch (format) {
    case Format::kWebDataset:
      return "webdataset";
    case Format::kMds:
      return "mds";
  }
  return "unknown";
}

Result<Format> format_from_name(std::string_view name) {
  for (Format f : {Format::kWebDataset, Format::kMds}) {
    if (name == format_name(f)) return f;
  }
  return invalid_argument("format \"" + std::string(name) + "\": not one of webdataset, mds");
}

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
  return hasher.hash();
}

Hash128 DatasetIndex::identity_hash() const {
  FieldHasher hasher;
  hasher.add("headrace identity").add(shards_.size());
  for (const ShardEntry& s : shards_) hasher.add(s.etag).add(s.version_id).add(s.checksum);
  return hasher.hash();
}

DatasetIndex DatasetIndex::coarsened(uint64_t stride) const {
  HR_ASSERT(is_stride(stride) && stride >= stride_);
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
  for (uint64_t s = 0; s < shards_.size(); ++s) {
    samples_ += shards_[s].samples;
    first_stride_.push_back(first_stride_.back() + strides_for(shards_[s].samples, stride_));
    sample_bytes_ += data_range(s).size();
  }
}

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
  if (known.size() != listed.size())
    return differs("number of shards", number(known.size()), number(listed.size()));
  for (uint64_t s = 0; s < known.size(); ++s) {
    const ShardEntry &a = known[s], &b = listed[s];
    const std::string shard = "shard " + number(s);
    if (a.key != b.key) return differs(shard, "\"" + a.key + "\"", "\"" + b.key + "\"");
    if (a.size != b.size)
      return differs(shard + " \"" + a.key + "\" size", number(a.size), number(b.size));
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

DatasetIndexBuilder::DatasetIndexBuilder(Format format, std::vector<ShardEntry> shards,
                                         IndexBuildOptions options)
    : format_(format),
      options_(std::move(options)),
      shards_(std::move(shards)),
      found_(shards_.size()),
      have_(shards_.size(), false),
      missing_(shards_.size()) {
  HR_ASSERT(options_.stride == 0 || is_stride(options_.stride));
}

Status DatasetIndexBuilder::add(uint64_t shard, ShardIndex found) {
  HR_ASSERT(shard < shards_.size() && !have_[shard]);
  Status status = check_found(found, shards_[shard].size);
  if (status.ok() && options_.stride != 0 && found.stride > options_.stride) {
    status = invalid_argument("its stride " + number(found.stride) + " is coarser than " +
                              number(options_.stride));
  }
  if (!status.ok()) return status.with_context("index shard " + shards_[shard].key);
  if (options_.stride != 0) found = coarsened_shard(std::move(found), options_.stride);
  shards_[shard].samples = found.samples;
  if (!found.checksum.empty()) shards_[shard].checksum = found.checksum;
  found_[shard] = std::move(found);
  have_[shard] = true;
  --missing_;
  return {};
}

Result<std::shared_ptr<const DatasetIndex>> DatasetIndexBuilder::finish() {
  if (missing_ > 0)
    return invalid_argument("build index: " + number(missing_) + " of " + number(shards_.size()) +
                            " shards are missing");
  uint64_t samples = 0, bytes = 0, coarsest = 1;
  bool crc = true;
  for (const ShardIndex& f : found_) {
    samples += f.samples;
    bytes += f.borders.back() - f.borders.front();
    coarsest = std::max(coarsest, f.stride);
    crc = crc && (f.samples == 0 || !f.crcs.empty());
  }
  if (samples == 0)
    return unsupported("build index: no samples in " + number(shards_.size()) + " shards");
  DatasetIndex index;
  index.format_ = format_;
  index.stride_ = options_.stride != 0 ? options_.stride
                                       : std::max(coarsest, stride_for_mean_bytes(bytes / samples));
  index.schema_json_ = options_.schema_json;
  std::unordered_map<std::string, size_t> field_at;
  for (ShardIndex& f : found_) {
    for (const FieldEntry& field : f.fields) {
      const auto [it, is_new] = field_at.try_emplace(field.name, index.fields_.size());
      if (is_new) index.fields_.push_back({field.name, 0});
      index.fields_[it->second].samples += field.samples;
    }
    const ShardIndex shard = coarsened_shard(std::move(f), index.stride_);
    index.borders_.insert(index.borders_.end(), shard.borders.begin(), shard.borders.end());
    if (crc) index.crcs_.insert(index.crcs_.end(), shard.crcs.begin(), shard.crcs.end());
  }
  if (index.fields_.size() > kFieldsMax)
    return exhausted("build index: more than " + number(kFieldsMax) + " different fields");
  index.shards_ = std::move(shards_);
  index.count_up();
  return std::make_shared<const DatasetIndex>(std::move(index));
}

}  // namespace headrace
