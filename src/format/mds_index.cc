// SPDX-License-Identifier: Apache-2.0
//
// index.json. Every shard repeats the whole schema (about 1 KB), so the text is parsed shard by
// shard: a shard's object is turned into an MdsShard when its closing brace comes and thrown away;
// the schema is kept once.
#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <set>

#include "format/decoder.h"
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
  return corrupt("/basename: " + printable(name) + " is not a plain relative path");
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

Result<std::vector<MdsFileHash>> hashes_of(const Json& file) {
  std::vector<MdsFileHash> found;
  const auto hashes = file.find("hashes");
  if (hashes == file.end() || hashes->is_null()) return found;
  if (!hashes->is_object() || hashes->size() > kKeysMax) return corrupt("/hashes: an object is needed");
  for (const auto& [algorithm, value] : hashes->items()) {
    if (!value.is_string() || value.get_ref<const std::string&>().size() > 256 || algorithm.size() > 32) {
      return corrupt("/hashes: names and hex texts are needed");
    }
    found.push_back({algorithm, value.get<std::string>()});
  }
  return found;
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
  return {};
}

// What index.json says of one file of a shard ("raw_data", "zip_data").
struct FileFacts {
  std::string basename;
  uint64_t bytes = 0;
  std::vector<MdsFileHash> hashes;
};
Result<FileFacts> file_of(const Json& shard, const char* key) {
  const auto fail = [&](const Status& status) -> Status {
    return {status.code(), std::string("/") + key + status.message()};  // a JSON pointer
  };
  const auto file = shard.find(key);
  if (file == shard.end() || !file->is_object()) return corrupt(std::string("/") + key + ": an object is needed");
  FileFacts facts;
  Result<std::string> name = text_at(*file, "basename");
  if (!name.ok()) return fail(name.status());
  facts.basename = *std::move(name);
  if (Status status = check_basename(facts.basename); !status.ok()) return fail(status);
  const Result<uint64_t> bytes = number_at(*file, "bytes");
  if (!bytes.ok()) return fail(bytes.status());
  facts.bytes = *bytes;
  Result<std::vector<MdsFileHash>> hashes = hashes_of(*file);
  if (!hashes.ok()) return fail(hashes.status());
  facts.hashes = *std::move(hashes);
  return facts;
}

// "zstd:5" and a file that is named so.
Status check_compression(const Json& shard, const std::string& zip_basename) {
  HR_TRY_ASSIGN(const std::string how, text_at(shard, "compression"));
  const std::string kind = how.substr(0, how.find(':'));
  constexpr std::array<std::pair<std::string_view, Compression>, 5> kKinds = {{{"br", Compression::kBrotli},
                                                                               {"bz2", Compression::kBzip2},
                                                                               {"gz", Compression::kGzip},
                                                                               {"snappy", Compression::kSnappy},
                                                                               {"zstd", Compression::kZstd}}};
  for (const auto& [name, compression] : kKinds) {
    if (kind != name) continue;
    if (compression_of_key(zip_basename) == compression) return {};
    return corrupt("/zip_data/basename: " + printable(zip_basename) + " is not named as " + kind + " files are");
  }
  return unsupported("/compression: " + printable(how) + ", known are br, bz2, gz, snappy and zstd");
}

Result<MdsShard> shard_of(const Json& json) {
  MdsShard shard;
  HR_TRY_ASSIGN(shard.samples, number_at(json, "samples"));
  if (shard.samples >= kShardSamplesMax) {
    return corrupt("/samples: " + number(shard.samples) + " do not fit a shard");
  }
  HR_TRY_ASSIGN(FileFacts raw, file_of(json, "raw_data"));
  shard.basename = std::move(raw.basename);
  shard.bytes = raw.bytes;
  shard.hashes = std::move(raw.hashes);
  if (is_null_or_absent(json, "compression") && is_null_or_absent(json, "zip_data")) return shard;
  HR_TRY_ASSIGN(FileFacts zip, file_of(json, "zip_data"));
  HR_TRY(check_compression(json, zip.basename));
  shard.zip_basename = std::move(zip.basename);
  shard.zip_bytes = zip.bytes;
  shard.zip_hashes = std::move(zip.hashes);
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
