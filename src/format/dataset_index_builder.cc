// SPDX-License-Identifier: Apache-2.0
//
// Putting a DatasetIndex together from what the indexers found. The stride is chosen last, when the
// mean sample size of the whole data set is known: finer strides are joined, their CRCs too,
// without the bytes.
#include <algorithm>
#include <numeric>
#include <unordered_map>

#include "base/crc32c.h"
#include "format/dataset_index.h"
#include "format/unit_table.h"

namespace headrace {
namespace {

std::string number(uint64_t n) { return std::to_string(n); }
uint64_t strides_for(uint64_t samples, uint64_t stride) { return (samples + stride - 1) / stride; }

Status check_found(const ShardIndex& found, uint64_t size) {
  if (found.units != nullptr) return {};  // what made them knew the object's size
  if (!is_stride(found.stride)) {
    return corrupt("stride " + number(found.stride) + " is not 1 to " + number(kStrideMax));
  }
  if (found.samples > kShardSamplesMax) {
    return exhausted("more than " + number(kShardSamplesMax) + " samples in one shard");
  }
  const uint64_t strides = strides_for(found.samples, found.stride);
  if (found.borders.size() != strides + 1 ||
      (!found.crcs.empty() && found.crcs.size() != strides)) {
    return corrupt(number(found.samples) + " samples at stride " + number(found.stride) +
                   " do not fit " + number(found.borders.size()) + " borders and " +
                   number(found.crcs.size()) + " checksums");
  }
  for (uint64_t k = 0; k < strides; ++k) {
    if (found.borders[k] >= found.borders[k + 1]) {
      return corrupt("stride " + number(k) + " does not end after its begin");
    }
  }
  if (found.borders.back() > size) {
    return corrupt("samples end at byte " + number(found.borders.back()) + ", the object has " +
                   number(size));
  }
  return {};
}

// n strides from `first` on as one: its CRC from theirs.
uint32_t joined_crc(const uint32_t* crcs, const uint64_t* borders, uint64_t n) {
  uint32_t crc = crcs[0];
  for (uint64_t i = 1; i < n; ++i) crc = crc32c_join(crc, crcs[i], borders[i + 1] - borders[i]);
  return crc;
}

}  // namespace

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
  if (status.ok() && found.units == nullptr && options_.stride % found.stride != 0) {
    status = invalid_argument("its stride " + number(found.stride) + " is no divisor of " + number(options_.stride));
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
  HR_ASSERT(shards_.size() == found_.size());  // once
  if (missing_ > 0) {
    return invalid_argument("build index: " + number(missing_) + " of " + number(shards_.size()) +
                            " shards are missing");
  }
  uint64_t samples = 0, bytes = 0, least = 1;
  bool crc = true;
  const bool by_units = std::ranges::any_of(found_, [](const ShardIndex& f) { return f.units != nullptr; });
  for (const ShardIndex& f : found_) {
    samples += f.samples;
    if (by_units) continue;
    bytes += f.borders.back() - f.borders.front();
    least = std::lcm(least, f.stride);
    if (least > kStrideMax) {
      return unsupported("build index: shards of groups of different sizes, which coincide only every " +
                         number(least) + " samples, at most " + number(kStrideMax) +
                         "; open them as several data sets");
    }
    crc = crc && (f.samples == 0 || !f.crcs.empty());
  }
  if (samples == 0) {
    return unsupported("build index: no samples in " + number(shards_.size()) + " shards");
  }
  if (by_units) return finish_units();
  DatasetIndex index;
  index.format_ = format_;
  index.stride_ = options_.stride != 0 ? options_.stride : least;
  const uint64_t most = stride_for_mean_bytes(bytes / samples);
  while (options_.stride == 0 && index.stride_ * 2 <= most) index.stride_ *= 2;
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
  if (index.fields_.size() > kFieldsMax) {
    return exhausted("build index: more than " + number(kFieldsMax) + " different fields");
  }
  index.shards_ = std::move(shards_);
  index.count_up();
  return std::make_shared<const DatasetIndex>(std::move(index));
}

Result<std::shared_ptr<const DatasetIndex>> DatasetIndexBuilder::finish_units() {
  DatasetIndex index;
  index.format_ = format_;
  std::vector<UnitFile> files;
  std::vector<std::string> keys;
  for (size_t s = 0; s < found_.size(); ++s) {
    files.push_back(*found_[s].units);
    keys.push_back(shards_[s].key);
  }
  HR_TRY_ASSIGN(index.units_, UnitTable::make(std::move(files), keys));
  index.shards_ = std::move(shards_);
  index.count_up();
  index.schema_json_ = index.units_->schema_json();
  for (const UnitField& field : index.units_->fields()) index.fields_.push_back({field.name, index.samples_});
  if (index.fields_.size() > kFieldsMax) {
    return exhausted("build index: more than " + number(kFieldsMax) + " columns");
  }
  return std::make_shared<const DatasetIndex>(std::move(index));
}

std::shared_ptr<const DatasetIndex> DatasetIndexBuilder::uncounted(Format format,
                                                                   std::vector<ShardEntry> shards,
                                                                   std::string schema_json,
                                                                   std::vector<FieldEntry> fields) {
  DatasetIndex index;
  index.format_ = format;
  index.schema_json_ = std::move(schema_json);
  index.fields_ = std::move(fields);
  index.shards_ = std::move(shards);
  index.borders_.assign(index.shards_.size(), 0);
  for (ShardEntry& shard : index.shards_) shard.samples = 0;
  index.count_up();
  return std::make_shared<const DatasetIndex>(std::move(index));
}

}  // namespace headrace
