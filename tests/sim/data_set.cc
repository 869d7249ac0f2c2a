// SPDX-License-Identifier: Apache-2.0
#include "data_set.h"

#include <algorithm>
#include <cstring>

#include "base/crc32c.h"
#include "base/hash.h"
#include "draw.h"

namespace headrace::sim {
namespace {

class LengthCutter final : public Cutter {
 public:
  Status cut(Bytes bytes, uint64_t rows, SampleBatchView& out) const override {
    for (uint64_t i = 0; i < rows; ++i) {
      uint32_t length = 0;
      if (bytes.size() >= 4) std::memcpy(&length, bytes.data(), 4);
      if (length < 4 || length > bytes.size()) return corrupt("cut row " + std::to_string(i) + ": wrong length");
      out.begin_sample("");
      out.add_field({"x", bytes.first(length), 0});
      bytes = bytes.subspan(length);
    }
    return bytes.empty() ? Status() : corrupt("cut rows: bytes are left");
  }
};

}  // namespace

DataSet::DataSet(const DataSpec& spec, uint64_t seed, std::string name) : name_(std::move(name)) {
  counts = std::make_shared<const ShardCounts>(spec.counts);
  for (uint64_t s = 0; s < spec.counts.size(); ++s) fill_shard(spec, s, seed);
  build_index(spec);
  cutter = std::make_shared<LengthCutter>();
}

void DataSet::fill_shard(const DataSpec& spec, uint64_t shard, uint64_t seed) {
  Draw draw(seed ^ (shard + 1) * 0xA24BAED4963EE407ull);
  auto content = std::make_shared<std::string>();
  const auto noise = [&](uint64_t bytes) {
    for (uint64_t word = 0; bytes > 0; bytes -= std::min<uint64_t>(bytes, 8)) {
      word = draw.next();
      content->append(reinterpret_cast<const char*>(&word), std::min<uint64_t>(bytes, 8));
    }
  };
  noise(spec.head_bytes);
  for (uint64_t i = 0; i < spec.counts[shard]; ++i) {
    const auto length = static_cast<uint32_t>(draw.between(spec.bytes_min, spec.bytes_max));
    places_.push_back({content->size(), content->size() + length});
    shard_of_.push_back(shard);
    content->append(reinterpret_cast<const char*>(&length), 4);
    noise(length - 4);
  }
  noise(spec.tail_bytes);
  contents_.push_back(std::move(content));
}

void DataSet::build_index(const DataSpec& spec) {
  std::vector<ShardEntry> entries;
  for (uint64_t s = 0; s < spec.counts.size(); ++s) {
    const std::string& content = *contents_[s];
    entries.push_back({key(s), content.size(), hash128(as_bytes(content)).hex(), "", spec.counts[s], ""});
  }
  IndexBuildOptions options;
  options.stride = spec.stride;
  DatasetIndexBuilder builder(Format::kWebDataset, entries, options);
  uint64_t number = 0;
  for (uint64_t s = 0; s < spec.counts.size(); ++s) {
    ShardIndex found;
    found.samples = spec.counts[s];
    found.stride = spec.stride;
    found.borders = {spec.counts[s] == 0 ? 0 : places_[number].begin};
    for (uint64_t i = 0; i < spec.counts[s]; i += spec.stride) {
      const uint64_t last = number + std::min(i + spec.stride, spec.counts[s]) - 1;
      const ByteRange range{found.borders.back(), places_[last].end};
      found.borders.push_back(range.end);
      const auto bytes = as_bytes(*contents_[s]).subspan(range.begin, range.size());
      if (spec.crc) found.crcs.push_back(crc32c(bytes));
    }
    number += spec.counts[s];
    found.fields = {{"x", spec.counts[s]}};
    const Status added = builder.add(s, std::move(found));
    if (!added.ok()) assert_failed(added.message().c_str(), __FILE__, __LINE__);
  }
  auto built = builder.finish();
  if (!built.ok()) assert_failed(built.status().message().c_str(), __FILE__, __LINE__);
  index = *std::move(built);
}

Bytes DataSet::sample(uint64_t number) const {
  const ByteRange at = places_[number];
  return as_bytes(*contents_[shard_of_[number]]).subspan(at.begin, at.size());
}

uint64_t DataSet::largest_read() const {
  uint64_t largest = 0;
  for (uint64_t s = 0; s < contents_.size(); ++s) {
    for (uint64_t k = 0; k < index->strides(s); ++k) largest = std::max(largest, index->stride_range(s, k).size());
  }
  return largest;
}

uint64_t DataSet::bytes() const {
  uint64_t sum = 0;
  for (const ByteRange& place : places_) sum += place.size();
  return sum;
}

}  // namespace headrace::sim
