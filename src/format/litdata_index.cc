// SPDX-License-Identifier: Apache-2.0
//
// LitData's index.json: {"chunks": [...], "config": {...}}, and what its data_spec says of the
// names of leaves: [1, node], a node being {"type", "context", "children_spec"} of torch's pytrees.
#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "format/decoder.h"
#include "format/litdata.h"
#include "format/mds_index_shard.h"

namespace headrace {
namespace {

using Json = nlohmann::json;
using mds_json::printable;

constexpr std::string_view kTokensLoader = "TokensLoader";
constexpr size_t kChunksMax = size_t{1} << 24, kNodesDepthMax = 16;
std::string number(uint64_t n) { return std::to_string(n); }
Status bad(const std::string& what) { return corrupt("read index.json " + what); }

// Names of the leaves below `node`, in order: keys of dicts, places in lists, joined by dots.
Status leaf_names(const Json& node, const std::string& prefix, size_t depth,
                  std::vector<std::string>& names) {
  if (depth > kNodesDepthMax || names.size() > kMdsColumnsMax) {
    return bad("/config/data_spec: nested too deep, or too many leaves");
  }
  if (!node.is_object()) return bad("/config/data_spec: a node is needed");
  const auto type = node.find("type"), children = node.find("children_spec"),
             context = node.find("context");
  if (type == node.end() || children == node.end() || !children->is_array()) {
    return bad("/config/data_spec: a node with type and children_spec is needed");
  }
  if (type->is_null()) {
    names.push_back(prefix.empty() ? "value" : prefix);
    return {};
  }
  // A dict's context is its keys, as JSON text; of lists and tuples it says nothing.
  Json keys;
  if (context != node.end() && context->is_string()) {
    keys = Json::parse(context->get<std::string>(), nullptr, /*allow_exceptions=*/false);
  }
  const bool named = keys.is_array() && keys.size() == children->size();
  for (size_t i = 0; i < children->size(); ++i) {
    const std::string name = named && keys[i].is_string() ? keys[i].get<std::string>() : number(i);
    HR_TRY(
        leaf_names((*children)[i], prefix.empty() ? name : prefix + "." + name, depth + 1, names));
  }
  return {};
}

Result<std::vector<std::string>> names_of(const Json& config, size_t leaves) {
  std::vector<std::string> names;
  const auto spec = config.find("data_spec");
  if (spec == config.end() || !spec->is_string()) return bad("/config/data_spec: a text is needed");
  const Json parsed = Json::parse(spec->get<std::string>(), nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_array() || parsed.size() != 2)
    return bad("/config/data_spec: [1, node] is needed");
  HR_TRY(leaf_names(parsed[1], "", 0, names));
  if (names.size() == leaves) return names;
  return bad("/config/data_spec: " + number(names.size()) + " leaves, data_format has " +
             number(leaves));
}

// What is set to something, by name: "" where it is null, absent or no text.
std::string text_of(const Json& config, const char* key) {
  const auto it = config.find(key);
  return it != config.end() && it->is_string() ? it->get<std::string>() : std::string();
}

Status check_readable(const Json& config) {
  const auto refused = [](const std::string& what) {
    return unsupported("read index.json /config: " + what + " is not read by this version");
  };
  const auto encryption = config.find("encryption");
  if (encryption != config.end() && !encryption->is_null()) return refused("encryption");
  const std::string loader = text_of(config, "item_loader");
  if (!loader.empty() && loader != "PyTreeLoader" && loader != kTokensLoader)
    return refused("item_loader " + printable(loader));
  const std::string compression = text_of(config, "compression");
  if (!compression.empty() && compression != "zstd" && !compression.starts_with("zstd:"))
    return refused("compression " + printable(compression));
  return {};
}

// By 0.2.76's words; older writers compress chunks as a whole and say nothing.
LitDataFraming framing_of(const Json& config) {
  if (text_of(config, "compression").empty()) return LitDataFraming::kNone;
  const std::string level = text_of(config, "compression_level");
  if (level == "sample") return LitDataFraming::kSample;
  return level == "batch" ? LitDataFraming::kBatch : LitDataFraming::kNone;
}

Status set_leaves(LitDataIndex& index, const std::vector<std::string>& names,
                  const std::vector<std::string>& formats) {
  for (size_t i = 0; i < names.size(); ++i) {
    auto column = litdata_column(names[i], formats[i]);
    if (!column.ok())
      return column.status().with_context("read index.json /config/data_format/" + number(i));
    index.columns.push_back(std::move(column->first));
    index.leaves.push_back(std::move(column->second));
  }
  return {};
}

Result<std::vector<std::string>> texts_of(const Json& object, const char* key) {
  const auto it = object.find(key);
  const Status needed = bad(std::string("/") + key + ": a list of 1 to " + number(kMdsColumnsMax) +
                            " texts is needed");
  if (it == object.end() || !it->is_array() || it->empty() || it->size() > kMdsColumnsMax)
    return needed;
  std::vector<std::string> texts;
  for (const Json& text : *it) {
    if (!text.is_string()) return needed;
    texts.push_back(text.get<std::string>());
  }
  return texts;
}

Result<MdsShard> chunk_of(const Json& chunk, bool compressed) {
  MdsShard out;
  if (!chunk.is_object()) return corrupt("an object is needed");
  HR_TRY_ASSIGN(out.samples, mds_json::number_at(chunk, "chunk_size"));
  if (out.samples >= kShardSamplesMax)
    return corrupt("/chunk_size: " + number(out.samples) + " do not fit a chunk");
  out.basename = text_of(chunk, "filename");
  HR_TRY(mds_json::check_basename(out.basename));
  const bool named = compression_of_key(out.basename) == Compression::kZstd;
  if (named != compressed) {
    return unsupported("/filename: " + printable(out.basename) +
                       (named ? " is named as compressed, config is not"
                              : " is not named as .zstd.bin files are"));
  }
  if (compressed) out.zip_basename = out.basename;
  return out;
}

}  // namespace

bool is_litdata_index(std::string_view json) {
  return json.find("\"chunks\"") != json.npos && json.find("\"shards\"") == json.npos;
}

Result<LitDataIndex> parse_litdata_index(Bytes json) {
  const Json top = Json::parse(as_text(json), nullptr, /*allow_exceptions=*/false);
  if (!top.is_object()) return bad(": an object is needed");
  const auto config = top.find("config"), chunks = top.find("chunks");
  if (config == top.end() || !config->is_object()) return bad("/config: an object is needed");
  if (chunks == top.end() || !chunks->is_array() || chunks->empty() ||
      chunks->size() > kChunksMax) {
    return bad("/chunks: a list of objects is needed");
  }
  HR_TRY(check_readable(*config));
  LitDataIndex index;
  HR_TRY_ASSIGN(const auto formats, texts_of(*config, "data_format"));
  HR_TRY_ASSIGN(const auto names, names_of(*config, formats.size()));
  HR_TRY(set_leaves(index, names, formats));
  index.framing = framing_of(*config);
  index.tokens = text_of(*config, "item_loader") == kTokensLoader;
  const auto types = config->find("types");
  const auto in_rows = [](const LitDataLeaf& leaf) {
    constexpr std::array<std::string_view, 6> kPlain = {"int", "float", "str", "text", "bool", "json"};
    return std::ranges::find(kPlain, leaf.stored) != kPlain.end();
  };
  index.maybe_rows = types != config->end() && types->is_object() && std::ranges::all_of(index.leaves, in_rows);
  index.has_json = std::ranges::find(index.leaves, "json", &LitDataLeaf::stored) != index.leaves.end();
  const bool compressed = !text_of(*config, "compression").empty() && index.framing == LitDataFraming::kNone;
  if (index.tokens && index.framing != LitDataFraming::kNone) {
    return unsupported("read index.json /config: tokens in frames are not read");
  }
  for (const Json& chunk : *chunks) {
    auto one = chunk_of(chunk, compressed);
    if (!one.ok())
      return one.status().with_context("read index.json /chunks/" + number(index.chunks.size()));
    index.chunks.push_back(*std::move(one));
  }
  return index;
}

std::vector<ShardEntry> litdata_entries(const LitDataIndex& index) {
  std::vector<ShardEntry> entries;
  for (const MdsShard& chunk : index.chunks) {
    ShardEntry entry;
    entry.key = chunk.basename;
    entry.samples = chunk.samples;
    entries.push_back(std::move(entry));
  }
  return entries;
}

std::string LitDataIndex::schema_json() const {
  Json names = Json::array(), formats = Json::array();
  for (const MdsColumn& c : columns) names.push_back(c.name);
  for (const LitDataLeaf& leaf : leaves) formats.push_back(leaf.stored);
  Json all{{"leaves", names}, {"data_format", formats}};
  if (framing != LitDataFraming::kNone) all["framing"] = framing == LitDataFraming::kSample ? "sample" : "batch";
  return all.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<LitDataIndex> LitDataIndex::from_schema(std::string_view text) {
  const Json all = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!all.is_object()) return bad(": the schema is no object");
  LitDataIndex index;
  HR_TRY_ASSIGN(const auto names, texts_of(all, "leaves"));
  HR_TRY_ASSIGN(const auto formats, texts_of(all, "data_format"));
  if (names.size() != formats.size()) return bad(": the schema's lists differ in length");
  HR_TRY(set_leaves(index, names, formats));
  const std::string framing = text_of(all, "framing");
  if (framing == "sample") index.framing = LitDataFraming::kSample;
  else if (framing == "batch") index.framing = LitDataFraming::kBatch;
  else if (!framing.empty()) return unsupported("read index.json: the schema's framing " + printable(framing));
  return index;
}

}  // namespace headrace
