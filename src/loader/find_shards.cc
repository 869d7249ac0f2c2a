// SPDX-License-Identifier: Apache-2.0
#include "loader/find_shards.h"

#include <algorithm>
#include <deque>
#include <future>
#include <map>
#include <string_view>

#include "base/hash.h"
#include "format/litdata.h"
#include "loader/find_tokens.h"

namespace headrace {
namespace {

constexpr std::string_view kMdsIndexName = "index.json";
constexpr size_t kHeadsAtOnce = 32;

bool ends_with_any(std::string_view key, std::initializer_list<std::string_view> suffixes) {
  return std::ranges::any_of(suffixes, [&](std::string_view s) { return key.ends_with(s); });
}

// What an object is by its name: the name of a format (format_facts), what is known but not read, or "" for company
// (indexes, notes) that is passed over.
std::string_view kind_of(std::string_view key) {
  if (const FormatFacts* facts = format_of_key(key)) return facts->name;
  if (key.ends_with(".tar.xz")) return "tar compressed with xz";
  if (ends_with_any(key, {".arrow"})) return "Arrow";
  if (ends_with_any(key, {".npy", ".npz"})) return "binary";
  if (ends_with_any(key, {".jpg", ".jpeg", ".png", ".webp"})) return "images as loose objects";
  return "";
}

// Whether an index.json says what the shards of this format are.
bool by_index_json(std::string_view format) {
  return std::ranges::any_of(format_facts(), [&](const FormatFacts& f) { return f.name == format && f.by_index_json; });
}

ShardEntry entry_of(const ObjectMeta& meta, const std::string& root) {
  return {meta.key.substr(root.size()), meta.size, meta.etag, meta.version_id, 0, ""};
}

class Finder {
 public:
  Finder(ObjectStore& store, const std::vector<DataUrl>& urls, const std::string& format, const TokenOptions& tokens,
         std::stop_token stop)
      : store_(store), urls_(urls), format_(format), tokens_(tokens), stop_(std::move(stop)) {}

  Result<FoundShards> find() {
    if (urls_.size() > 1) return listed_shards();
    const std::string& key = urls_[0].key;
    if (key == kMdsIndexName || key.ends_with("/" + std::string(kMdsIndexName))) {
      return indexed(key.substr(0, key.size() - kMdsIndexName.size()));
    }
    const std::string_view kind = format_.empty() ? kind_of(key) : std::string_view(format_);
    if (!key.ends_with('/') && !kind.empty() && !by_index_json(kind)) return listed_shards();
    return under_prefix(key);
  }

 private:
  // The user named every shard: the order is the user's.
  Result<FoundShards> listed_shards() {
    std::vector<std::string> keys;
    for (const DataUrl& url : urls_) keys.push_back(url.key);
    FoundShards found;
    HR_TRY_ASSIGN(found.shard_format, one_format(keys));
    found.root = common_folder(keys);
    auto [low, high] = std::ranges::minmax(keys);
    const size_t same = static_cast<size_t>(std::ranges::mismatch(low, high).in1 - low.begin());
    HR_TRY_ASSIGN(auto objects, objects_of(keys, low.substr(0, same)));
    std::map<std::string_view, const ObjectMeta*> by_key;
    for (const ObjectMeta& object : objects) by_key.emplace(object.key, &object);
    for (const std::string& key : keys) {
      auto it = by_key.find(key);
      if (it == by_key.end()) {
        return not_found("open " + store_.name() + "/" + key + ": no such object (" +
                         std::to_string(missing(keys, by_key)) + " of " + std::to_string(keys.size()) +
                         " shards are missing); check the range in the URL against `headrace ls`");
      }
      found.shards.push_back(entry_of(*it->second, found.root));
    }
    HR_TRY(complete(found));
    return found;
  }

  // By one listing, or, where a store has none, by asking for each.
  Result<std::vector<ObjectMeta>> objects_of(const std::vector<std::string>& keys, const std::string& prefix) {
    auto listed = list_all(store_, prefix, kObjectsListedMax, stop_);
    if (listed.ok() || listed.status().code() != Code::kUnsupported) return listed;
    return head_each(keys);
  }

  Result<std::vector<ObjectMeta>> head_each(const std::vector<std::string>& keys) {
    std::deque<std::future<Result<ObjectMeta>>> under_way;
    std::vector<ObjectMeta> objects;
    for (size_t next = 0; next < keys.size() || !under_way.empty();) {
      if (next < keys.size() && under_way.size() < kHeadsAtOnce) {
        auto promise = std::make_shared<std::promise<Result<ObjectMeta>>>();
        under_way.push_back(promise->get_future());
        store_.head(keys[next++], [promise](Result<ObjectMeta> meta) { promise->set_value(std::move(meta)); }, stop_);
        continue;
      }
      Result<ObjectMeta> meta = under_way.front().get();
      under_way.pop_front();
      if (meta.ok()) objects.push_back(*std::move(meta));
      else if (meta.status().code() != Code::kNotFound) return meta.status();  // a missing one is the caller's to tell
    }
    return objects;
  }

  static size_t missing(const std::vector<std::string>& keys,
                        const std::map<std::string_view, const ObjectMeta*>& by_key) {
    return static_cast<size_t>(
        std::ranges::count_if(keys, [&](const std::string& key) { return !by_key.contains(key); }));
  }

  // A folder, or a prefix of keys where no such folder is.
  Result<FoundShards> under_prefix(const std::string& key) {
    HR_TRY_ASSIGN(auto objects, list_all(store_, key, kObjectsListedMax, stop_));
    const std::string folder = key.empty() || key.ends_with('/') ? key : key + "/";
    std::vector<const ObjectMeta*> inside;
    for (const ObjectMeta& object : objects) {
      if (object.key.starts_with(folder)) inside.push_back(&object);
    }
    const bool is_folder = !inside.empty();
    if (!is_folder) {
      for (const ObjectMeta& object : objects) inside.push_back(&object);
    }
    if (inside.empty()) {
      return not_found("open " + store_.name() + "/" + key +
                       ": no object has this prefix; check bucket and prefix with `headrace ls`");
    }
    const bool has_index_json = is_folder && std::ranges::any_of(inside, [&](const ObjectMeta* object) {
      return object->key == folder + std::string(kMdsIndexName);
    });
    // Beside tars an index.json is another tool's (wids): the tars are the data.
    const bool has_others = std::ranges::any_of(inside, [](const ObjectMeta* object) {
      const FormatFacts* facts = format_of_key(object->key);
      return facts != nullptr && !facts->by_index_json && facts->format != Format::kTokens;  // LitData has .bin, too
    });
    if (has_index_json && (format_.empty() ? !has_others : by_index_json(format_))) return indexed(folder, &objects);
    return by_names(inside, key);
  }

  Result<FoundShards> by_names(const std::vector<const ObjectMeta*>& inside, const std::string& key) {
    std::vector<std::string> keys;
    for (const ObjectMeta* object : inside) {
      // .headrace/, .nv-meta/
      if (object->key.find("/.") != std::string::npos || object->key.starts_with('.')) continue;
      const std::string_view kind = kind_of(object->key);
      if (format_.empty() ? !kind.empty() : kind == format_) keys.push_back(object->key);
    }
    if (keys.empty()) {
      return not_found("open " + store_.name() + "/" + key + ": " + std::to_string(inside.size()) +
                       " objects lie there, but no shards" +
                       (format_.empty() ? " (" + endings() + ") and no MDS index.json" : " of " + format_));
    }
    FoundShards found;
    HR_TRY_ASSIGN(found.shard_format, one_format(keys));
    found.root = common_folder(keys);
    for (const ObjectMeta* object : inside) {
      if (std::ranges::binary_search(keys, object->key)) found.shards.push_back(entry_of(*object, found.root));
    }
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

  // The format of shards that need no more than their names; null: they do.
  Result<std::shared_ptr<const ShardFormat>> one_format(const std::vector<std::string>& keys) const {
    std::map<std::string_view, std::string_view> example;
    for (const std::string& key : keys) example.emplace(kind_of(key), key);
    if (example.size() > 1 && format_.empty()) {
      std::string text = "open " + store_.name() + ": shards of several formats:";
      for (auto [kind, key] : example) {
        text += " " + std::string(kind.empty() ? "unknown" : kind) + " (" + std::string(key) + ")";
      }
      return invalid_argument(text + "; open one kind at a time, or give format=");
    }
    const std::string kind = format_.empty() ? std::string(example.begin()->first) : format_;
    if (by_index_json(kind)) {
      return invalid_argument("open " + store_.name() + "/" + keys[0] + ": " + kind +
                              " shards are opened by their folder or index.json, not one by one");
    }
    const Result<Format> format = format_from_name(kind);
    if (format.ok() && *format == Format::kTokens) return std::shared_ptr<const ShardFormat>();
    if (tokens_ != TokenOptions{}) {
      return invalid_argument("open " + store_.name() + "/" + keys[0] +
                              ": window=, token_dtype= and eos= are for files of tokens, this is " + kind);
    }
    if (format.ok()) return shard_format(*format, "");
    std::string known;
    for (const FormatFacts& facts : format_facts()) known += (known.empty() ? "" : ", ") + std::string(facts.name);
    return unsupported("open " + store_.name() + "/" + keys[0] + ": " + (kind.empty() ? "this kind of object" : kind) +
                       " is not read by this version (read are " + known + ")");
  }

  Result<FoundShards> indexed(const std::string& root, const std::vector<ObjectMeta>* objects = nullptr) {
    const std::string key = root + std::string(kMdsIndexName);
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
    std::vector<ObjectMeta> own;
    if (objects == nullptr) {
      std::vector<std::string> keys;
      for (const ShardEntry& shard : found.shards) keys.push_back(root + shard.key);
      HR_TRY_ASSIGN(own, objects_of(keys, root));
      objects = &own;
    }
    HR_TRY(join_listing(found, *objects));
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

  Status join_listing(FoundShards& found, const std::vector<ObjectMeta>& objects) const {
    std::map<std::string_view, const ObjectMeta*> by_key;
    for (const ObjectMeta& object : objects) by_key.emplace(object.key, &object);
    for (ShardEntry& shard : found.shards) {
      auto it = by_key.find(found.root + shard.key);
      const std::string text = "open " + store_.name() + "/" + found.root + shard.key;
      if (it == by_key.end()) return not_found(text + ": index.json lists this shard, but there is no such object");
      if (shard.size == 0) shard.size = it->second->size;  // LitData says none that can be relied on
      if (it->second->size != shard.size) {
        return corrupt(text + ": index.json says " + std::to_string(shard.size) + " bytes, the object has " +
                       std::to_string(it->second->size) + "; it is truncated or index.json is of another version");
      }
      shard.etag = it->second->etag;
      shard.version_id = it->second->version_id;
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
