// SPDX-License-Identifier: Apache-2.0
#include "loader/find_shards.h"

#include <algorithm>
#include <map>
#include <string_view>

#include "base/hash.h"
#include "format/litdata.h"
#include "loader/find_objects.h"
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
    HR_TRY_ASSIGN(const Format format, one_format(kinds));
    HR_TRY(look_up(store_, found.shards, stop_));
    const auto gone = std::ranges::count(found.shards, kNotListed, &ShardEntry::size);
    if (gone > 0) {
      const auto first = std::ranges::find(found.shards, kNotListed, &ShardEntry::size);
      return not_found("open " + store_.name() + "/" + first->key + ": no such object (" + std::to_string(gone) +
                       " of " + std::to_string(keys.size()) +
                       " shards are missing); check the range in the URL against `headrace ls`");
    }
    cut_root(found, common_folder(keys));
    found.why = how_known(keys[0]);
    HR_TRY(complete(format, found));
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
    if (!format_.empty() && format_ != kAnyObject) {
      std::erase_if(found.shards, [&](const ShardEntry& shard) { return kind_of(shard.key) != format_; });
    }
    if (found.shards.empty()) {
      return not_found("open " + store_.name() + "/" + key + ": " + std::to_string(listing.objects) +
                       " objects lie there, but no shards" +
                       (format_.empty() ? " (" + endings() + ") and no MDS index.json; format=\"objects\" makes a " +
                                              "sample of each object, whatever it is"
                                        : " of " + format_));
    }
    HR_TRY_ASSIGN(const Format format, one_format(listing.kinds));
    if (format == Format::kImages && format_.empty()) HR_TRY(no_other_images(listing.other_image));
    const std::string below = listing.is_folder && !key.empty() && !key.ends_with('/') ? key + "/" : key;
    const std::string folder = below.substr(0, below.rfind('/') + 1);
    found.why = how_known(found.shards[0].key);
    if (listing.passed_over > 0) {
      found.why += "; passed over: " + std::to_string(listing.passed_over) + " other objects (" +
                   listing.passed_first.substr(folder.size()) + (listing.passed_over > 1 ? ", ...)" : ")");
    }
    // Classes are folders below the one that was opened. Else, in order of keys: what the first and the last have in
    // common, all have.
    cut_root(found, is_by_object(format) ? folder
                                         : common_folder({found.shards.front().key, found.shards.back().key}));
    HR_TRY(complete(format, found).with_context("open " + store_.name() + "/" + key));
    return found;
  }

  Status no_other_images(const std::string& odd) const {
    if (odd.empty()) return {};  // leaving them out unasked would be a smaller data set
    return invalid_argument("open " + store_.name() + "/" + odd + ": images of this kind are not decoded; " +
                            "format=\"images\" leaves them out, format=\"objects\" gives the bytes of all objects");
  }

  std::string how_known(const std::string& key) const {
    if (!format_.empty()) return "format= says so";
    const size_t name = key.rfind('/') == std::string::npos ? 0 : key.rfind('/') + 1;
    const size_t dot = key.find('.', name);
    return "by the names' ending, " + (dot == std::string::npos ? key : key.substr(key.rfind('.')));
  }

  // Formats whose names do not say enough ask for more.
  Status complete(Format format, FoundShards& found) {
    if (is_by_object(format)) return set_object_format(format, found);
    if (format == Format::kTokens) {
      HR_TRY_ASSIGN(found.shard_format, find_token_format(store_, found.root, found.shards, tokens_, stop_));
      return {};
    }
    HR_TRY_ASSIGN(found.shard_format, shard_format(format, ""));
    return {};
  }

  static std::string endings() {
    std::string text;
    for (const FormatFacts& facts : format_facts()) {
      if (facts.by_index_json || facts.endings.empty()) continue;
      for (std::string_view ending : facts.endings) text += (text.empty() ? "" : ", ") + std::string(ending);
    }
    return text;
  }

  // The one format of all of them, by names or as the user says. `kinds`: with a key of each.
  Result<Format> one_format(const std::map<std::string, std::string, std::less<>>& kinds) const {
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
    if (tokens_ != TokenOptions{} && !(format.ok() && *format == Format::kTokens)) {
      return invalid_argument("open " + store_.name() + "/" + first +
                              ": window=, token_dtype= and eos= are for files of tokens, this is " + kind);
    }
    if (format.ok()) return *format;
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
    if (litdata_) HR_TRY(look_for_rows(found));
    return found;
  }

  // LitData's rows that may be stored as Arrow: the first chunk's end says whether they are.
  Status look_for_rows(FoundShards& found) {
    const ShardEntry& first = found.shards[0];
    const ByteRange tail{first.size - std::min<uint64_t>(first.size, 12), first.size};
    HR_TRY_ASSIGN(const std::string bytes, read_all(store_, found.root + first.key, tail, first.etag, stop_));
    if (is_litdata_rows(as_bytes(bytes))) {
      found.shard_format = make_litdata_rows_format(*litdata_);
      found.why += ": LitData's rows as Arrow";
    } else if (litdata_->has_json) {
      return unsupported("open " + store_.name() + "/" + found.root + first.key +
                         ": leaves of JSON that are not stored as Arrow rows, which litdata makes when pyarrow is "
                         "installed where it writes");
    }
    return {};
  }

  Status parse_index_json(const std::string& json, FoundShards& found) {
    found.why = "its index.json says so";
    if (is_litdata_index(json)) {
      HR_TRY_ASSIGN(LitDataIndex index, parse_litdata_index(as_bytes(json)));
      found.shards = litdata_entries(index);
      if (index.tokens) {
        HR_TRY_ASSIGN(found.shard_format, make_litdata_token_format(index, tokens_));
        found.why += ": chunks of LitData's TokensLoader";
        return {};
      }
      if (index.maybe_rows) litdata_ = index;
      found.shard_format = make_litdata_format(std::move(index));
    } else {
      HR_TRY_ASSIGN(MdsIndex index, parse_mds_index(as_bytes(json)));
      found.shards = mds_shard_entries(index);
      found.shard_format = make_mds_format(std::move(index));
    }
    const std::string_view says = format_name(found.shard_format->format());
    if (tokens_ != TokenOptions{}) {
      return invalid_argument("window=, token_dtype= and eos= are for files of tokens, this is " + std::string(says));
    }
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
  std::optional<LitDataIndex> litdata_;  // its chunks' ends are to be looked at
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
