// SPDX-License-Identifier: Apache-2.0
#include "loader/find_shards.h"

#include <algorithm>
#include <map>
#include <string_view>

#include "base/hash.h"
#include "format/litdata.h"
#include "loader/find_tokens.h"
#include "loader/shard_listing.h"

namespace headrace {
namespace {

class Finder {
 public:
  Finder(ObjectStore& store, const std::vector<DataUrl>& urls, const std::string& format, const TokenOptions& tokens,
         std::stop_token stop)
      : store_(store), urls_(urls), format_(format), tokens_(tokens), stop_(std::move(stop)) {}

  Result<FoundShards> find() {
    if (urls_.size() > 1) return listed_shards();
    const std::string& key = urls_[0].key;
    if (key == kIndexJsonName || key.ends_with("/" + std::string(kIndexJsonName))) {
      return indexed(key.substr(0, key.size() - kIndexJsonName.size()));
    }
    const std::string_view kind = format_.empty() ? kind_of(key) : std::string_view(format_);
    if (!key.ends_with('/') && !kind.empty() && !by_index_json(kind)) return listed_shards();
    return under_prefix(key);
  }

 private:
  // The user named every shard: the order is the user's.
  Result<FoundShards> listed_shards() {
    std::vector<std::string> keys;
    std::map<std::string, std::string, std::less<>> kinds;
    FoundShards found;
    for (const DataUrl& url : urls_) {
      keys.push_back(url.key);
      kinds.try_emplace(std::string(kind_of(url.key)), url.key);
      found.shards.emplace_back().key = url.key;
    }
    HR_TRY_ASSIGN(found.shard_format, one_format(kinds));
    HR_TRY(look_up(store_, found.shards, stop_));
    const auto gone = std::ranges::count(found.shards, kNotListed, &ShardEntry::size);
    if (gone > 0) {
      const auto first = std::ranges::find(found.shards, kNotListed, &ShardEntry::size);
      return not_found("open " + store_.name() + "/" + first->key + ": no such object (" + std::to_string(gone) +
                       " of " + std::to_string(keys.size()) +
                       " shards are missing); check the range in the URL against `headrace ls`");
    }
    cut_root(found, common_folder(keys));
    HR_TRY(complete(found));
    return found;
  }

  static void cut_root(FoundShards& found, std::string root) {
    found.root = std::move(root);
    for (ShardEntry& shard : found.shards) shard.key.erase(0, found.root.size());
  }

  // A folder, or a prefix of keys where no such folder is.
  Result<FoundShards> under_prefix(const std::string& key) {
    HR_TRY_ASSIGN(ShardListing listing, list_shards(store_, key, format_, stop_));
    if (listing.objects == 0) {
      return not_found("open " + store_.name() + "/" + key +
                       ": no object has this prefix; check bucket and prefix with `headrace ls`");
    }
    // Beside tars an index.json is another tool's (wids): the tars are the data.
    if (listing.has_index_json && (format_.empty() ? !listing.has_others : by_index_json(format_))) {
      return indexed(key.empty() || key.ends_with('/') ? key : key + "/", &listing);
    }
    return by_names(std::move(listing), key);
  }

  Result<FoundShards> by_names(ShardListing listing, const std::string& key) {
    FoundShards found;
    found.shards = std::move(listing.shards);
    if (!format_.empty()) {
      std::erase_if(found.shards, [&](const ShardEntry& shard) { return kind_of(shard.key) != format_; });
    }
    if (found.shards.empty()) {
      return not_found("open " + store_.name() + "/" + key + ": " + std::to_string(listing.objects) +
                       " objects lie there, but no shards" +
                       (format_.empty() ? " (" + endings() + ") and no MDS index.json" : " of " + format_));
    }
    HR_TRY_ASSIGN(found.shard_format, one_format(listing.kinds));
    // In order of keys: what the first and the last have in common, all have.
    cut_root(found, common_folder({found.shards.front().key, found.shards.back().key}));
    HR_TRY(complete(found));
    return found;
  }

  // Formats whose names do not say enough.
  Status complete(FoundShards& found) {
    if (found.shard_format) return {};
    HR_TRY_ASSIGN(found.shard_format, find_token_format(store_, found.root, found.shards, tokens_, stop_));
    return {};
  }

  static std::string endings() {
    std::string text;
    for (const FormatFacts& facts : format_facts()) {
      if (facts.by_index_json) continue;
      for (std::string_view ending : facts.endings) text += (text.empty() ? "" : ", ") + std::string(ending);
    }
    return text;
  }

  // The format of shards that need no more than their names; null: they do. `kinds`: with a key of each.
  Result<std::shared_ptr<const ShardFormat>> one_format(
      const std::map<std::string, std::string, std::less<>>& kinds) const {
    if (kinds.size() > 1 && format_.empty()) {
      std::string text = "open " + store_.name() + ": shards of several formats:";
      for (const auto& [kind, key] : kinds) text += " " + (kind.empty() ? "unknown" : kind) + " (" + key + ")";
      return invalid_argument(text + "; open one kind at a time, or give format=");
    }
    const std::string& first = kinds.begin()->second;
    const std::string kind = format_.empty() ? kinds.begin()->first : format_;
    if (by_index_json(kind)) {
      return invalid_argument("open " + store_.name() + "/" + first + ": " + kind +
                              " shards are opened by their folder or index.json, not one by one");
    }
    const Result<Format> format = format_from_name(kind);
    if (format.ok() && *format == Format::kTokens) return std::shared_ptr<const ShardFormat>();
    if (tokens_ != TokenOptions{}) {
      return invalid_argument("open " + store_.name() + "/" + first +
                              ": window=, token_dtype= and eos= are for files of tokens, this is " + kind);
    }
    if (format.ok()) return shard_format(*format, "");
    std::string known;
    for (const FormatFacts& facts : format_facts()) known += (known.empty() ? "" : ", ") + std::string(facts.name);
    return unsupported("open " + store_.name() + "/" + first + ": " + (kind.empty() ? "this kind of object" : kind) +
                       " is not read by this version (read are " + known + ")");
  }

  Result<FoundShards> indexed(const std::string& root, const ShardListing* listing = nullptr) {
    const std::string key = root + std::string(kIndexJsonName);
    HR_TRY_ASSIGN(ObjectMeta meta, head_now(store_, key, stop_));
    if (meta.size == 0 || meta.size > kMdsIndexBytesMax) {
      return corrupt("open " + store_.name() + "/" + key + ": " + std::to_string(meta.size) + " bytes");
    }
    HR_TRY_ASSIGN(const std::string json, read_object(store_, meta, stop_));
    FoundShards found;
    found.root = root;
    if (Status status = parse_index_json(json, found); !status.ok()) {
      return status.with_context("open " + store_.name() + "/" + key);
    }
    HR_TRY(join_listing(found, listing));
    return found;
  }

  Status parse_index_json(const std::string& json, FoundShards& found) const {
    if (is_litdata_index(json)) {
      HR_TRY_ASSIGN(LitDataIndex index, parse_litdata_index(as_bytes(json)));
      found.shards = litdata_entries(index);
      found.shard_format = make_litdata_format(std::move(index));
    } else {
      HR_TRY_ASSIGN(MdsIndex index, parse_mds_index(as_bytes(json)));
      found.shards = mds_shard_entries(index);
      found.shard_format = make_mds_format(std::move(index));
    }
    const std::string_view says = format_name(found.shard_format->format());
    if (format_.empty() || format_ == says) return {};
    return invalid_argument("it says " + std::string(says) + ", format= says " + format_);
  }

  // What the store says of the shards that index.json lists.
  Status join_listing(FoundShards& found, const ShardListing* listing) const {
    std::vector<ShardEntry> objects(found.shards.size());
    bool all = listing != nullptr;
    for (size_t i = 0; i < objects.size(); ++i) {
      objects[i].key = found.root + found.shards[i].key;
      if (!all) continue;
      const auto it = std::ranges::lower_bound(listing->shards, objects[i].key, {}, &ShardEntry::key);
      all = it != listing->shards.end() && it->key == objects[i].key;
      if (all) objects[i] = *it;
    }
    // A shard by an unusual name was not kept.
    if (!all) HR_TRY(look_up(store_, objects, stop_));
    for (size_t i = 0; i < objects.size(); ++i) {
      ShardEntry& shard = found.shards[i];
      const std::string text = "open " + store_.name() + "/" + objects[i].key;
      if (objects[i].size == kNotListed) {
        return not_found(text + ": index.json lists this shard, but there is no such object");
      }
      if (shard.size == 0) shard.size = objects[i].size;  // LitData says none that can be relied on
      if (objects[i].size != shard.size) {
        return corrupt(text + ": index.json says " + std::to_string(shard.size) + " bytes, the object has " +
                       std::to_string(objects[i].size) + "; it is truncated or index.json is of another version");
      }
      shard.etag = std::move(objects[i].etag);
      shard.version_id = std::move(objects[i].version_id);
    }
    return {};
  }

  ObjectStore& store_;
  const std::vector<DataUrl>& urls_;
  const std::string& format_;
  const TokenOptions& tokens_;
  std::stop_token stop_;
};

}  // namespace

Result<FoundShards> find_shards(ObjectStore& store, const std::vector<DataUrl>& urls, const std::string& format,
                                const TokenOptions& tokens, std::stop_token stop) {
  if (!format.empty()) HR_TRY(format_from_name(format).status());
  return Finder(store, urls, format, tokens, std::move(stop)).find();
}

std::string listing_hash(const ShardFormat& format, const std::vector<ShardEntry>& shards) {
  FieldHasher hasher;
  hasher.add(format_name(format.format()));
  if (format.format() == Format::kTokens) hasher.add(format.schema_json());
  for (const ShardEntry& shard : shards) hasher.add(shard.key).add(shard.size);
  return hasher.hash().hex();
}

}  // namespace headrace
