// SPDX-License-Identifier: Apache-2.0
#include "loader/index_parts.h"

#include <algorithm>
#include <numeric>

#include "base/hash.h"
#include "format/index_file.h"
#include "format/unit_table.h"

namespace headrace {
namespace {

constexpr std::string_view kPartSuffix = ".part";

ShardIndex shard_of(const DatasetIndex& index, size_t shard) {
  ShardIndex found;
  found.samples = index.shards()[shard].samples;
  found.checksum = index.shards()[shard].checksum;
  for (const FieldEntry& field : index.fields()) found.fields.push_back({field.name, found.samples});
  if (index.units()) {
    UnitFile file = index.units()->file(shard);
    file.schema = index.units()->schema(shard);
    found.units = std::make_shared<const UnitFile>(std::move(file));
    return found;
  }
  found.stride = index.stride();
  found.borders.push_back(index.data_range(shard).begin);
  for (uint64_t k = 0; k < index.strides(shard); ++k) {
    found.borders.push_back(index.stride_range(shard, k).end);
    if (index.has_crc()) found.crcs.push_back(index.stride_crc(shard, k));
  }
  return found;
}

bool same_object(const ShardEntry& was, const ShardEntry& now) {
  return was.key == now.key && was.size == now.size && was.etag == now.etag &&
         (was.version_id == now.version_id || was.version_id.empty() || now.version_id.empty());
}

}  // namespace

std::string index_part_name(const ShardFormat& format, const ShardEntry& shard, bool crc) {
  FieldHasher hasher;
  hasher.add("headrace index part").add(format_name(format.format())).add(format.schema_json());
  hasher.add(shard.key).add(shard.size).add(shard.etag).add(shard.version_id).add(uint64_t{crc});
  return hasher.hash().hex() + std::string(kPartSuffix);
}

Result<std::string> encode_index_part(const ShardFormat& format, const ShardEntry& shard, ShardIndex found) {
  IndexBuildOptions options;
  options.stride = found.units ? 0 : found.stride;
  DatasetIndexBuilder builder(format.format(), {shard}, options);
  HR_TRY(builder.add(0, std::move(found)));
  HR_TRY_ASSIGN(const auto index, builder.finish());
  return encode_index(*index);
}

Result<ShardIndex> decode_index_part(Bytes part, const ShardEntry& shard) {
  HR_TRY_ASSIGN(const auto index, decode_index(part));
  if (index->shards().size() != 1 || !same_object(index->shards()[0], shard)) {
    return precondition_failed("read a part of an index: it is of " + index->shards()[0].key + " (" +
                               std::to_string(index->shards()[0].size) + " bytes, ETag " + index->shards()[0].etag +
                               "), not of " + shard.key + " (" + std::to_string(shard.size) + " bytes, ETag " +
                               shard.etag + ") as it is now");
  }
  ShardIndex found = shard_of(*index, 0);
  found.fields = index->fields();
  return found;
}

bool fields_are_full(const DatasetIndex& index) {
  return std::ranges::all_of(index.fields(), [&](const FieldEntry& f) { return f.samples == index.samples(); });
}

EarlierIndex::EarlierIndex(std::shared_ptr<const DatasetIndex> index, const ShardFormat& format, bool crc) {
  if (!index || index->format() != format.format() || !fields_are_full(*index)) return;
  if (!index->units() && index->schema_json() != format.schema_json()) return;
  if (crc && !index->has_checksums()) return;
  by_key_.resize(index->shards().size());
  std::iota(by_key_.begin(), by_key_.end(), size_t{0});
  std::ranges::sort(by_key_, {}, [&](size_t s) { return std::string_view(index->shards()[s].key); });
  index_ = std::move(index);
}

std::optional<size_t> EarlierIndex::find(const ShardEntry& shard) const {
  if (!index_ || shard.etag.empty()) return std::nullopt;  // nothing says that it is the same
  const auto key = [&](size_t s) { return std::string_view(index_->shards()[s].key); };
  const auto it = std::ranges::lower_bound(by_key_, std::string_view(shard.key), {}, key);
  if (it == by_key_.end() || !same_object(index_->shards()[*it], shard)) return std::nullopt;
  return *it;
}

ShardIndex EarlierIndex::take(size_t shard) const { return shard_of(*index_, shard); }

}  // namespace headrace
