// SPDX-License-Identifier: Apache-2.0
#include "format/mds_index_shard.h"

#include <algorithm>
#include <array>
#include <set>

#include "format/decoder.h"

namespace headrace::mds_json {
namespace {

constexpr uint64_t kNameBytesMax = 4'096;  // of a column, an encoding, a basename

std::string number(uint64_t n) { return std::to_string(n); }

}  // namespace

std::string printable(std::string_view text) {
  std::string out = "\"";
  for (char c : text.substr(0, 120)) out += (c < 0x20 || c == 0x7f) ? '?' : c;
  return out + (text.size() > 120 ? "...\"" : "\"");
}

Result<uint64_t> number_at(const Json& object, const char* key) {
  const auto it = object.find(key);
  if (it == object.end() || !it->is_number_unsigned()) {
    return corrupt(std::string("/") + key + ": a number that is not negative is needed");
  }
  return it->get<uint64_t>();
}

namespace {

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

// Columns of json, csv, tsv and xsv shards: the types that mosaicml-streaming's writers know, in MDS's words.
Result<MdsColumn> text_column(const std::string& name, const std::string& type) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kTypes = {
      {{"str", "str"}, {"int", "str_int"}, {"float", "str_float"}}};
  for (const auto& [known, encoding] : kTypes) {
    if (type == known) return MdsColumn{name, parse_mds_encoding(encoding).value()};
  }
  return unsupported("column " + printable(name) + ": type " + printable(type) + " is not one of str, int, float");
}

// {"columns": {"id": "int", ...}}
Result<MdsSchema> json_schema(const Json& shard) {
  const auto columns = shard.find("columns");
  if (columns == shard.end() || !columns->is_object() || columns->empty() || columns->size() > kMdsColumnsMax) {
    return corrupt("/columns: an object of 1 to " + number(kMdsColumnsMax) + " names is needed");
  }
  MdsSchema schema;
  for (const auto& [name, type] : columns->items()) {
    if (!type.is_string() || name.size() > kNameBytesMax) return corrupt("/columns: names and types are needed");
    HR_TRY_ASSIGN(MdsColumn column, text_column(name, type.get<std::string>()));
    schema.columns.push_back(std::move(column));
  }
  return schema;
}

}  // namespace

Result<MdsSchema> schema_of(const Json& shard) {
  HR_TRY_ASSIGN(const auto names, texts_at(shard, "column_names"));
  HR_TRY_ASSIGN(const auto encodings, texts_at(shard, "column_encodings"));
  const auto sizes = shard.find("column_sizes");
  if (names.size() != encodings.size() || sizes == shard.end() || !sizes->is_array() ||
      sizes->size() != names.size()) {
    return corrupt("/column_names, /column_encodings and /column_sizes: not three lists of one length");
  }
  MdsSchema schema;
  std::set<std::string> seen;
  for (size_t i = 0; i < names.size(); ++i) {
    const std::string at = "column " + printable(names[i]) + ": ";
    if (!seen.insert(names[i]).second) return corrupt(at + "listed twice");
    auto encoding = parse_mds_encoding(encodings[i]);
    if (!encoding.ok()) return encoding.status().with_context("column " + printable(names[i]));
    const Json& size = (*sizes)[i];
    const bool fits = size.is_null() ? encoding->fixed_bytes == 0
                                     : size.is_number_unsigned() && size.get<uint64_t>() == encoding->fixed_bytes;
    if (!fits) return corrupt(at + "/column_sizes does not fit encoding " + printable(encodings[i]));
    schema.columns.push_back({names[i], *std::move(encoding)});
  }
  return schema;
}

namespace {

Result<MdsSchema> xsv_schema(const Json& shard) {
  HR_TRY_ASSIGN(const auto names, texts_at(shard, "column_names"));
  HR_TRY_ASSIGN(const auto types, texts_at(shard, "column_encodings"));
  if (names.size() != types.size()) return corrupt("/column_names, /column_encodings: not two lists of one length");
  MdsSchema schema;
  std::set<std::string> seen;
  for (size_t i = 0; i < names.size(); ++i) {
    if (!seen.insert(names[i]).second) return corrupt("column " + printable(names[i]) + ": listed twice");
    HR_TRY_ASSIGN(MdsColumn column, text_column(names[i], types[i]));
    schema.columns.push_back(std::move(column));
  }
  return schema;
}

Result<std::string> mark_at(const Json& shard, const char* key) {
  HR_TRY_ASSIGN(std::string mark, text_at(shard, key));
  if (mark.empty() || mark.size() > kNewlineBytesMax) {
    return corrupt(std::string("/") + key + ": " + printable(mark) + " is not 1 to " + number(kNewlineBytesMax) +
                   " bytes long");
  }
  return mark;
}

// Format, columns, and how the text is divided.
Status read_kind(const Json& shard, MdsIndex& out) {
  HR_TRY_ASSIGN(const uint64_t version, number_at(shard, "version"));
  if (version != 2) return unsupported("/version: MDS version " + number(version) + ", only 2 is known");
  HR_TRY_ASSIGN(const std::string format, text_at(shard, "format"));
  if (format == "mds") {
    out.format = Format::kMds;
    HR_TRY_ASSIGN(out.schema, schema_of(shard));
    return {};
  }
  if (format != "json" && format != "csv" && format != "tsv" && format != "xsv") {
    return corrupt("/format: " + printable(format) + " is no format of mosaicml-streaming");
  }
  HR_TRY_ASSIGN(out.newline, mark_at(shard, "newline"));
  if (format == "json") {
    out.format = Format::kMosaicJson;
    HR_TRY_ASSIGN(out.schema, json_schema(shard));
    return {};
  }
  out.format = Format::kMosaicXsv;
  out.separator = format == "csv" ? "," : "\t";
  if (format == "xsv") {
    HR_TRY_ASSIGN(out.separator, mark_at(shard, "separator"));
  }
  HR_TRY_ASSIGN(out.schema, xsv_schema(shard));
  return {};
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

}  // namespace

Result<MdsIndex> index_of(const Json& json) {
  MdsIndex index;
  HR_TRY(read_kind(json, index));
  HR_TRY_ASSIGN(MdsShard shard, shard_of(json));
  index.shards.push_back(std::move(shard));
  return index;
}

}  // namespace headrace::mds_json
