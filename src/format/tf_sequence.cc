// SPDX-License-Identifier: Apache-2.0
//
// The feature lists of tf.train.SequenceExample (tensorflow/core/example/{example,feature}.proto):
//   SequenceExample { Features context = 1; FeatureLists feature_lists = 2 }
//   FeatureLists { map<string, FeatureList> feature_list = 1 }     FeatureList { repeated Feature feature = 1 }
// and what becomes of them: arrays where every step has as many numbers, else JSON.
#include <algorithm>
#include <bit>
#include <nlohmann/json.hpp>

#include "base/endian.h"
#include "format/json_value.h"
#include "format/proto_fields.h"
#include "format/tfrecord.h"

namespace headrace {
namespace {

using Json = nlohmann::json;
using Kind = TfFeature::Kind;

constexpr size_t kListsMax = 4'096;
constexpr uint64_t kWidthMax = uint64_t{1} << 32;

uint32_t bit_of(Kind kind) { return 1u << static_cast<uint32_t>(kind); }

// Calls `take(feature)` for each step until it says no. False: it did, or the list is damaged.
template <class Take>
bool each_step(Bytes list, const Take& take) {
  ProtoFields fields(list);
  while (fields.next()) {
    if (fields.number != 1) continue;
    TfFeature feature;
    if (fields.wire != ProtoWire::kBytes || !read_tf_feature(fields.bytes, feature) || !take(feature)) return false;
  }
  return fields.good();
}

bool count_steps(TfFeatureList& list) {
  return each_step(list.list, [&](const TfFeature& step) {
    ++list.steps;
    if (step.values > 0) list.kinds |= bit_of(step.kind);
    list.values_min = std::min(list.values_min, step.values);
    list.values_max = std::max(list.values_max, step.values);
    return true;
  });
}

// string key = 1, FeatureList value = 2
bool read_entry(Bytes message, TfFeatureList& list) {
  ProtoFields fields(message);
  while (fields.next()) {
    if (fields.number > 2) continue;
    if (fields.wire != ProtoWire::kBytes) return false;
    if (fields.number == 1) list.name = as_text(fields.bytes);
    else list.list = fields.bytes;
  }
  return fields.good() && count_steps(list);
}

void append_values(const TfFeature& step, std::string& out) {
  ProtoFields list(step.list);
  std::string values(step.values * (step.kind == Kind::kFloat ? 4 : 8), '\0');
  if (step.kind == Kind::kFloat) copy_tf_floats(step, values.data());
  if (step.kind == Kind::kInt64) copy_tf_ints(step, values.data());
  for (uint64_t i = 0; i < step.values; ++i) {
    if (i > 0) out += ',';
    if (step.kind == Kind::kFloat) {
      append_json_float(static_cast<double>(load_le<float>(values.data() + 4 * i)), true, out);
    } else if (step.kind == Kind::kInt64) {
      append_json_number(load_le<int64_t>(values.data() + 8 * i), out);
    } else {
      while (list.next() && list.number != 1) {}
      append_json_base64(list.bytes, out);
    }
  }
}

Bytes as_json(const TfListColumn& column, const TfFeatureList& list, SampleBatchView& out) {
  std::string text = "[";
  each_step(list.list, [&](const TfFeature& step) {
    if (text.size() > 1) text += ',';
    if (column.width != 1) text += '[';
    append_values(step, text);
    if (column.width != 1) text += ']';
    return true;
  });
  return as_bytes(out.keep(text + "]"));
}

// As MDS stores an array of a fixed dtype: ndim << 2 | 3, sizes of 8 bytes, values.
Bytes as_array(const TfListColumn& column, const TfFeatureList& list, SampleBatchView& out) {
  const bool floats = column.kind == Kind::kFloat;
  const uint32_t ndim = column.width == 1 ? 1 : 2;
  const size_t head = 1 + 8 * ndim, step_bytes = column.width * (floats ? 4 : 8);
  const size_t bytes = head + list.steps * step_bytes;
  char* room = out.text_room(bytes);
  room[0] = static_cast<char>(ndim << 2 | 3);
  store_le<uint64_t>(room + 1, list.steps);
  if (ndim == 2) store_le<uint64_t>(room + 9, column.width);
  char* at = room + head;
  each_step(list.list, [&](const TfFeature& step) {
    (floats ? copy_tf_floats : copy_tf_ints)(step, at);
    at += step_bytes;
    return true;
  });
  return as_bytes({room, bytes});
}

// What steps like these become; no encoding: nothing.
TfListColumn column_of(const std::string& name, const TfFeatureList& all) {
  TfListColumn out;
  if (std::popcount(all.kinds) != 1) return out;  // never a value, or several kinds
  out.kind = static_cast<Kind>(std::countr_zero(all.kinds));
  const bool even = all.values_min == all.values_max && all.values_max <= kWidthMax;
  std::string_view type = out.kind == Kind::kFloat ? "ndarray:float32" : "ndarray:int64";
  if (out.kind == Kind::kBytes || !even) type = "json";
  if (even && (out.kind != Kind::kBytes || all.values_max == 1)) out.width = all.values_max;
  out.column = {name, parse_mds_encoding(type).value()};
  return out;
}

}  // namespace

Status read_tf_feature_lists(Bytes record, std::vector<TfFeatureList>& lists) {
  const Status bad = corrupt("the record is no tf.train.SequenceExample");
  ProtoFields example(record);
  while (example.next()) {
    if (example.number != 2) continue;
    if (example.wire != ProtoWire::kBytes) return bad;
    ProtoFields map(example.bytes);
    while (map.next()) {
      if (map.number != 1) continue;
      TfFeatureList list;
      if (map.wire != ProtoWire::kBytes || !read_entry(map.bytes, list)) return bad;
      if (lists.size() == kListsMax) {
        return exhausted("the record has more than " + std::to_string(kListsMax) + " feature lists");
      }
      std::erase_if(lists, [&](const TfFeatureList& l) { return l.name == list.name; });
      lists.push_back(list);
    }
    if (!map.good()) return bad;
  }
  return example.good() ? Status() : bad;
}

std::vector<TfListColumn> learn_tf_lists(const std::vector<Bytes>& payloads, const std::vector<MdsColumn>& taken) {
  std::vector<std::pair<std::string, TfFeatureList>> seen;
  for (const Bytes payload : payloads) {
    std::vector<TfFeatureList> lists;
    if (!read_tf_feature_lists(payload, lists).ok()) return {};
    for (const TfFeatureList& list : lists) {
      if (list.name.empty() || seen.size() > kMdsColumnsMax) return {};
      auto at = std::ranges::find(seen, list.name, &std::pair<std::string, TfFeatureList>::first);
      if (at == seen.end()) at = seen.insert(at, {std::string(list.name), TfFeatureList()});
      at->second.kinds |= list.kinds;
      at->second.values_min = std::min(at->second.values_min, list.values_min);
      at->second.values_max = std::max(at->second.values_max, list.values_max);
    }
  }
  std::ranges::sort(seen, {}, &std::pair<std::string, TfFeatureList>::first);
  std::vector<TfListColumn> columns;
  for (const auto& [name, all] : seen) {
    TfListColumn column = column_of(name, all);
    if (column.column.name.empty() || std::ranges::find(taken, name, &MdsColumn::name) != taken.end()) continue;
    columns.push_back(std::move(column));
  }
  return columns;
}

bool tf_list_field(const TfListColumn& column, const TfFeatureList& list, SampleBatchView& out, Bytes& field) {
  const bool wide = column.width > 0 && list.steps > 0;
  if ((list.kinds & ~bit_of(column.kind)) != 0) return false;
  if (wide && (list.values_min != column.width || list.values_max != column.width)) return false;
  field = column.column.encoding.kind == MdsKind::kJson ? as_json(column, list, out) : as_array(column, list, out);
  return true;
}

std::string TfSchema::json() const {
  if (columns.empty() && lists.empty()) return "{}";
  const std::string text = MdsSchema{all_columns()}.json();
  if (lists.empty()) return text;
  Json all = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  for (const TfListColumn& list : lists) {
    all["feature_lists"].push_back({{"kind", static_cast<uint32_t>(list.kind)}, {"width", list.width}});
  }
  return all.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<TfSchema> TfSchema::from_json(std::string_view text) {
  TfSchema schema;
  if (text.empty() || text == "{}") return schema;
  HR_TRY_ASSIGN(MdsSchema columns, MdsSchema::from_json(text));
  schema.columns = std::move(columns.columns);
  const Json all = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  const auto lists = all.find("feature_lists");
  if (lists == all.end()) return schema;
  const Status bad = corrupt("read the schema of a TFRecord data set /feature_lists: kinds and widths of the last "
                             "columns are needed");
  if (!lists->is_array() || lists->size() > schema.columns.size()) return bad;
  const auto first = schema.columns.end() - static_cast<ptrdiff_t>(lists->size());
  for (size_t i = 0; i < lists->size(); ++i) {
    const Json& list = (*lists)[i];
    if (!list.is_object()) return bad;
    const auto kind = list.find("kind"), width = list.find("width");
    if (kind == list.end() || width == list.end() || !kind->is_number_unsigned() || !width->is_number_unsigned() ||
        *kind < 1 || *kind > 3 || *width > kWidthMax) {
      return bad;
    }
    TfListColumn column{std::move(first[static_cast<ptrdiff_t>(i)]), kind->get<Kind>(), *width};
    const MdsKind stored = column.column.encoding.kind;
    const bool array = stored == MdsKind::kNdarray && column.width > 0 && column.kind != Kind::kBytes;
    if (stored != MdsKind::kJson && !array) return bad;
    schema.lists.push_back(std::move(column));
  }
  schema.columns.erase(first, schema.columns.end());
  return schema;
}

}  // namespace headrace
