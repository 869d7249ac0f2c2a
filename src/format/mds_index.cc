// SPDX-License-Identifier: Apache-2.0
//
// index.json. Every shard repeats the whole schema (about 1 KB), so the text is parsed shard by
// shard: a shard's object is turned into an MdsShard when its closing brace comes and thrown away;
// the schema is kept once.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "format/mds.h"
#include "format/mds_index_shard.h"

namespace headrace {
namespace {

using namespace mds_json;  // NOLINT: one reader in two files

constexpr int kShardDepth = 2;  // {"shards": [ {shard} ]}

std::string number(uint64_t n) { return std::to_string(n); }

bool same(const MdsSchema& a, const MdsSchema& b) {
  return std::equal(a.columns.begin(), a.columns.end(), b.columns.begin(), b.columns.end(),
                    [](const MdsColumn& x, const MdsColumn& y) {
                      return x.name == y.name && x.encoding.name == y.encoding.name;
                    });
}

// Receives nlohmann's parse events.
class IndexReader {
 public:
  // False: drop this value.
  bool on_event(int depth, Json::parse_event_t event, Json& value) {
    if (!status_.ok()) return false;
    using Event = Json::parse_event_t;
    if (static_cast<uint64_t>(depth) > kMdsJsonDepthMax) {
      status_ = corrupt("read index.json: nested deeper than " + number(kMdsJsonDepthMax));
    } else if (event == Event::object_start) {
      keys_.resize(std::max<size_t>(keys_.size(), static_cast<size_t>(depth) + 1));
      keys_[static_cast<size_t>(depth)].clear();
    } else if (event == Event::key) {
      on_key(static_cast<size_t>(depth) - 1, value);
    } else if (event == Event::object_end && depth == kShardDepth) {
      if (shard_list_) on_shard(value);
      return false;
    }
    return status_.ok();
  }

  Result<MdsIndex> result(const Json& top) {
    HR_TRY(status_);
    if (top.is_discarded()) return corrupt("read index.json: not valid JSON");
    if (!top.is_object()) return corrupt("read index.json: an object is needed");
    auto version = number_at(top, "version");
    if (!version.ok()) return version.status().with_context("read index.json");
    if (*version != 2) {
      return unsupported("read index.json: MDS version " + number(*version) + ", only 2 is known");
    }
    const auto shards = top.find("shards");
    if (shards == top.end() || !shards->is_array() || !shards->empty()) {
      return corrupt("read index.json /shards: a list of objects is needed");
    }
    if (index_.shards.empty()) return unsupported("read index.json: no shards");
    return std::move(index_);
  }

 private:
  void on_key(size_t depth, const Json& value) {
    const auto& key = value.get_ref<const std::string&>();
    if (depth == 0) shard_list_ = key == "shards";
    if (!keys_[depth].insert(key).second) {
      status_ = corrupt("read index.json: key " + printable(key) + " twice in one object");
    }
    if (keys_[depth].size() > kKeysMax) {
      status_ = corrupt("read index.json: more than " + number(kKeysMax) + " keys in one object");
    }
  }

  void on_shard(const Json& json) {
    const std::string at = "read index.json /shards/" + number(index_.shards.size());
    if (Status status = add(json); !status.ok()) status_ = status.with_context(at);
  }

  Status add(const Json& json) {
    HR_TRY_ASSIGN(MdsIndex one, index_of(json));
    if (index_.shards.empty()) {
      index_ = std::move(one);
      return {};
    }
    if (one.format != index_.format || one.newline != index_.newline || one.separator != index_.separator) {
      return unsupported("its format differs from the first shard's; read the parts as data sets of their own");
    }
    if (!same(index_.schema, one.schema)) {
      return unsupported("its columns differ from the first shard's; read the parts as data sets of their own");
    }
    index_.shards.push_back(std::move(one.shards[0]));
    return {};
  }

  Status status_;
  MdsIndex index_;
  std::vector<std::set<std::string>> keys_;  // of the open objects, by depth
  bool shard_list_ = false;                  // the top-level key being read is "shards"
};

}  // namespace

Result<MdsIndex> parse_mds_index(Bytes json) {
  if (json.size() > kMdsIndexBytesMax) {
    return exhausted("read index.json: " + number(json.size()) + " bytes, the limit is " +
                     number(kMdsIndexBytesMax));
  }
  IndexReader reader;
  const std::string_view text = as_text(json);
  const Json top = Json::parse(
      text.begin(), text.end(),
      [&reader](int depth, Json::parse_event_t event, Json& value) {
        return reader.on_event(depth, event, value);
      },
      /*allow_exceptions=*/false);
  return reader.result(top);
}

std::vector<ShardEntry> mds_shard_entries(const MdsIndex& index) {
  std::vector<ShardEntry> entries;
  for (const MdsShard& s : index.shards) {
    ShardEntry entry;
    const bool zip = !s.zip_basename.empty();
    const std::vector<MdsFileHash>& hashes = zip ? s.zip_hashes : s.hashes;
    entry.key = zip ? s.zip_basename : s.basename;
    entry.size = zip ? s.zip_bytes : s.bytes;
    entry.samples = s.samples;
    if (!hashes.empty()) entry.checksum = hashes[0].algorithm + ":" + hashes[0].hex;
    entries.push_back(std::move(entry));
  }
  return entries;
}

std::string MdsSchema::json() const {
  Json names = Json::array(), encodings = Json::array();
  for (const MdsColumn& c : columns) {
    names.push_back(c.name);
    encodings.push_back(c.encoding.name);
  }
  const Json all{{"column_names", names}, {"column_encodings", encodings}};
  return all.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<MdsSchema> MdsSchema::from_json(std::string_view text) {
  Json all = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!all.is_object()) return corrupt("read MDS schema: not a JSON object");
  // The sizes follow from the encodings and are not stored.
  Json sizes = Json::array();
  const auto encodings = all.find("column_encodings");
  if (encodings != all.end() && encodings->is_array()) {
    for (const Json& e : *encodings) {
      auto encoding =
          parse_mds_encoding(e.is_string() ? e.get_ref<const std::string&>() : std::string());
      if (!encoding.ok()) return encoding.status().with_context("read MDS schema");
      sizes.push_back(encoding->fixed_bytes == 0 ? Json() : Json(encoding->fixed_bytes));
    }
  }
  all["column_sizes"] = std::move(sizes);
  auto schema = schema_of(all);
  if (!schema.ok()) return schema.status().with_context("read MDS schema");
  return schema;
}

}  // namespace headrace
