// SPDX-License-Identifier: Apache-2.0
#include "loader/shard_listing.h"

#include <algorithm>
#include <deque>
#include <future>
#include <numeric>

#include "format/shard_format.h"
#include "store/listing.h"

namespace headrace {
namespace {

constexpr size_t kHeadsAtOnce = 32;

bool ends_with_any(std::string_view key, std::initializer_list<std::string_view> suffixes) {
  return std::ranges::any_of(suffixes, [&](std::string_view s) { return key.ends_with(s); });
}

// .headrace/, .nv-meta/
bool is_hidden(std::string_view key) { return key.starts_with('.') || key.find("/.") != std::string_view::npos; }

void take_over(ObjectMeta&& object, ShardEntry& shard) {
  shard.size = object.size;
  shard.etag = std::move(object.etag);
  shard.version_id = std::move(object.version_id);
}

// Images that ImageFolder takes and that no decoder here reads.
bool is_other_image(std::string_view key) {
  return ends_with_any(key, {".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff"});
}

class Collector {
 public:
  Collector(const std::string& key, const std::string& format)
      : folder_(key.empty() || key.ends_with('/') ? key : key + "/"), format_(format),
        every_kind_(format.empty() || by_index_json(format)) {}

  void take(ObjectMeta object) {
    const bool inside = object.key.starts_with(folder_);
    if (inside && !out_.is_folder) {  // what has come so far only begins with the same letters
      out_ = {};
      out_.is_folder = true;
    }
    if (inside != out_.is_folder) return;
    ++out_.objects;
    if (inside && object.key.size() == folder_.size() + kIndexJsonName.size() && object.key.ends_with(kIndexJsonName)) {
      out_.has_index_json = true;
    }
    const FormatFacts* facts = format_of_key(object.key);
    // LitData has .bin, too; images and arrays beside an index.json are its company.
    out_.has_others = out_.has_others ||
                      (facts && !facts->by_index_json && !facts->by_object && facts->format != Format::kTokens);
    if (is_hidden(object.key) || object.key.ends_with('/')) return;  // folders' own objects hold nothing
    const std::string_view kind = format_ == kAnyObject ? kAnyObject : kind_of(object.key);
    if (kind.empty() || (!every_kind_ && kind != format_)) {
      if (out_.passed_over++ == 0 || object.key < out_.passed_first) out_.passed_first = object.key;
      if (is_other_image(object.key)) out_.other_image = object.key;
      return;
    }
    const auto [example, fresh] = out_.kinds.try_emplace(std::string(kind), object.key);
    if (!fresh && object.key < example->second) example->second = object.key;
    ShardEntry& shard = out_.shards.emplace_back();
    shard.key = std::move(object.key);
    take_over(std::move(object), shard);
  }

  ShardListing finish() {
    std::vector<ShardEntry>& shards = out_.shards;
    if (!std::ranges::is_sorted(shards, {}, &ShardEntry::key)) {
      std::ranges::stable_sort(shards, {}, &ShardEntry::key);
    }
    const auto same = [](const ShardEntry& a, const ShardEntry& b) { return a.key == b.key; };
    shards.erase(std::unique(shards.begin(), shards.end(), same), shards.end());
    return std::move(out_);
  }

 private:
  const std::string folder_;
  const std::string& format_;
  const bool every_kind_;
  ShardListing out_;
};

Status head_each(ObjectStore& store, std::vector<ShardEntry>& shards, std::stop_token stop) {
  std::deque<std::future<Result<ObjectMeta>>> under_way;
  for (size_t asked = 0, answered = 0; answered < shards.size();) {
    if (asked < shards.size() && under_way.size() < kHeadsAtOnce) {
      auto promise = std::make_shared<std::promise<Result<ObjectMeta>>>();
      under_way.push_back(promise->get_future());
      store.head(
          shards[asked++].key, [promise](Result<ObjectMeta> meta) { promise->set_value(std::move(meta)); }, stop);
      continue;
    }
    Result<ObjectMeta> meta = under_way.front().get();
    under_way.pop_front();
    ShardEntry& shard = shards[answered++];
    if (meta.ok()) take_over(*std::move(meta), shard);
    else if (meta.status().code() != Code::kNotFound) return meta.status();
  }
  return {};
}

}  // namespace

std::string_view kind_of(std::string_view key) {
  if (const FormatFacts* facts = format_of_key(key)) return facts->name;
  if (key.ends_with(".tar.xz")) return "tar compressed with xz";
  if (key.ends_with(".lance")) return "Lance (see docs/formats/lance.md)";
  return "";
}

bool by_index_json(std::string_view format) {
  return std::ranges::any_of(format_facts(), [&](const FormatFacts& f) { return f.name == format && f.by_index_json; });
}

Result<ShardListing> list_shards(ObjectStore& store, const std::string& key, const std::string& format,
                                 std::stop_token stop) {
  Collector collector(key, format);
  HR_TRY(list_each(store, {.prefix = key, .objects_max = kObjectsListedMax},
                   [&](ObjectMeta object) { collector.take(std::move(object)); }, std::move(stop)));
  return collector.finish();
}

Status look_up(ObjectStore& store, std::vector<ShardEntry>& shards, std::stop_token stop) {
  if (shards.empty()) return {};
  std::vector<size_t> by_key(shards.size());
  std::iota(by_key.begin(), by_key.end(), size_t{0});
  const auto key_of = [&](size_t i) -> const std::string& { return shards[i].key; };
  std::ranges::sort(by_key, {}, key_of);
  for (ShardEntry& shard : shards) shard.size = kNotListed;
  const std::string &low = key_of(by_key.front()), &high = key_of(by_key.back());
  const std::string prefix(low.begin(), std::ranges::mismatch(low, high).in1);
  const Status status = list_each(
      store, {.prefix = prefix, .objects_max = kObjectsListedMax},
      [&](ObjectMeta object) {
        auto it = std::ranges::lower_bound(by_key, object.key, {}, key_of);
        for (; it != by_key.end() && key_of(*it) == object.key; ++it) take_over(ObjectMeta(object), shards[*it]);
      },
      stop);
  return status.code() == Code::kUnsupported ? head_each(store, shards, std::move(stop)) : status;
}

}  // namespace headrace
