// SPDX-License-Identifier: Apache-2.0
//
// index.json. Every shard repeats the whole schema (about 1 KB), so the text is parsed shard by
// shard: a shard's object is turned into an MdsShard when its closing brace comes and thrown away;
// the schema is kept once.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "format/mds.h"

namespace headrace {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kKeysMax = 64;          // of one object; the writers use 13
constexpr uint64_t kNameBytesMax = 4'096;  // of a column, an encoding, a basename
constexpr int kShardDepth = 2;             // {"shards": [ {shard} ]}

std::string number(uint64_t n) { return std::to_string(n); }

// Bytes of the data set may hold terminal control characters; messages do not.
std::string printable(std::string_view text) {
  std::string out = "\"";
  for (char c : text.substr(0, 120)) out += (c < 0x20 || c == 0x7f) ? '?' : c;
  return out + (text.size() > 120 ? "...\"" : "\"");
}

Result<std::string> text_at(const Json& object, const char* key) {
  const auto it = object.find(key);
  if (it == object.end() || !it->is_string()) {
    return corrupt(std::string("/") + key + ": a string is needed");
  }
  const auto& text = it->get_ref<const std::string&>();
  if (text.size() > kNameBytesMax) {
    return corrupt(std::string("/") + key + ": longer than " + number(kNameBytesMax) + " bytes");
  }
  return text;
}

Result<uint64_t> number_at(const Json& object, const char* key) {
  const auto it = object.find(key);
  if (it == object.end() || !it->is_number_unsigned()) {
    return corrupt(std::string("/") + key + ": a number that is not negative is needed");
  }
  return it->get<uint64_t>();
}

bool is_null_or_absent(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it == object.end() || it->is_null();
}

// Relative, without "..", ".", empty parts, back-slashes or control characters: it becomes an
// object key below the root.
Status check_basename(const std::string& name) {
  bool good = !name.empty();
  for (char c : name) good = good && static_cast<uint8_t>(c) >= 0x20 && c != 0x7f && c != '\\';
  for (size_t at = 0; good && at <= name.size();) {
    const size_t slash = std::min(name.find('/', at), name.size());
    const std::string part = name.substr(at, slash - at);
    good = !part.empty() && part != "." && part != "..";
    at = slash + 1;
  }
  if (good) return {};
  return corrupt("/raw_data/basename: " + printable(name) + " is not a plain relative path");
}

Result<std::vector<std::string>> texts_at(const Json& shard, const char* key) {
  const auto it = shard.find(key);
  if (it == shard.end() || !it->is_array() || it->empty() || it->size() > kMdsColumnsMax) {
    return corrupt(std::string("/") + key + ": a list of 1 to " + number(kMdsColumnsMax) +
                   " strings is needed");
  }
  std::vector<std::string> texts;
  for (const Json& item : *it) {
    if (!item.is_string() || item.get_ref<const std::string&>().size() > kNameBytesMax) {
      return corrupt(std::string("/") + key + ": not a string of at most " + number(kNameBytesMax) +
                     " bytes");
    }
    texts.push_back(item.get<std::string>());
  }
  return texts;
}

Result<MdsSchema> schema_of(const Json& shard) {
  HR_TRY_ASSIGN(const auto names, texts_at(shard, "column_names"));
  HR_TRY_ASSIGN(const auto encodings, texts_at(shard, "column_encodings"));
  const auto sizes = shard.find("column_sizes");
  if (names.size() != encodings.size() || sizes == shard.end() || !sizes->is_array() ||
      sizes->size() != names.size()) {
    return corrupt(
        "/column_names, /column_encodings and /column_sizes: not three lists of one length");
  }
  MdsSchema schema;
  std::set<std::string> seen;
  for (size_t i = 0; i < names.size(); ++i) {
    const std::string at = "column " + printable(names[i]) + ": ";
    if (!seen.insert(names[i]).second) return corrupt(at + "listed twice");
    auto encoding = parse_mds_encoding(encodings[i]);
    if (!encoding.ok()) return encoding.status().with_context("column " + printable(names[i]));
    const Json& size = (*sizes)[i];
    const bool fits =
        size.is_null() ? encoding->fixed_bytes == 0
                       : size.is_number_unsigned() && size.get<uint64_t>() == encoding->fixed_bytes;
    if (!fits) {
      return corrupt(at + "/column_sizes does not fit encoding " + printable(encodings[i]));
    }
    schema.columns.push_back({names[i], *std::move(encoding)});
  }
  return schema;
}

Status read_hashes(const Json& raw, MdsShard& shard) {
  const auto hashes = raw.find("hashes");
  if (hashes == raw.end() || hashes->is_null()) return {};
  if (!hashes->is_object() || hashes->size() > kKeysMax) {
    return corrupt("/raw_data/hashes: an object is needed");
  }
  for (const auto& [algorithm, value] : hashes->items()) {
    if (!value.is_string() || value.get_ref<const std::string&>().size() > 256 ||
        algorithm.size() > 32) {
      return corrupt("/raw_data/hashes: names and hex texts are needed");
    }
    shard.hashes.push_back({algorithm, value.get<std::string>()});
  }
  return {};
}

Status check_readable(const Json& shard) {
  HR_TRY_ASSIGN(const uint64_t version, number_at(shard, "version"));
  if (version != 2) {
    return unsupported("/version: MDS version " + number(version) + ", only 2 is known");
  }
  HR_TRY_ASSIGN(const std::string format, text_at(shard, "format"));
  if (format == "json" || format == "csv" || format == "tsv" || format == "xsv") {
    return unsupported("/format: " + format + " shards are not read; write the data set as mds");
  }
  if (format != "mds") {
    return corrupt("/format: " + printable(format) + " is no format of mosaicml-streaming");
  }
  if (is_null_or_absent(shard, "compression") && is_null_or_absent(shard, "zip_data")) return {};
  const auto compression = shard.find("compression");
  const std::string how = compression != shard.end() && compression->is_string()
                              ? compression->get<std::string>()
                              : "?";
  return unsupported("/compression: shards are compressed (" + printable(how) +
                     "), which cannot be read by ranges; write the data set with compression=None");
}

Result<MdsShard> shard_of(const Json& json) {
  const auto raw = json.find("raw_data");
  if (raw == json.end() || !raw->is_object()) return corrupt("/raw_data: an object is needed");
  MdsShard shard;
  HR_TRY_ASSIGN(shard.samples, number_at(json, "samples"));
  if (shard.samples >= kShardSamplesMax) {
    return corrupt("/samples: " + number(shard.samples) + " do not fit a shard");
  }
  HR_TRY_ASSIGN(shard.basename, text_at(*raw, "basename"));
  HR_TRY(check_basename(shard.basename));
  HR_TRY_ASSIGN(shard.bytes, number_at(*raw, "bytes"));
  HR_TRY(read_hashes(*raw, shard));
  return shard;
}

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
    Status status = check_readable(json);
    if (status.ok()) status = add(json);
    if (!status.ok()) status_ = status.with_context(at);
  }

  Status add(const Json& json) {
    HR_TRY_ASSIGN(MdsSchema schema, schema_of(json));
    HR_TRY_ASSIGN(MdsShard shard, shard_of(json));
    if (index_.shards.empty()) {
      index_.schema = std::move(schema);
    } else if (!same(index_.schema, schema)) {
      return unsupported(
          "its columns differ from the first shard's; read the parts as data sets of their own");
    }
    index_.shards.push_back(std::move(shard));
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
    entry.key = s.basename;
    entry.size = s.bytes;
    entry.samples = s.samples;
    if (!s.hashes.empty()) entry.checksum = s.hashes[0].algorithm + ":" + s.hashes[0].hex;
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
