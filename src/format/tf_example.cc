// SPDX-License-Identifier: Apache-2.0
//
// tf.train.Example from its protocol buffer wire format (tensorflow/core/example/{example,feature}.proto):
//   Example { Features features = 1 }            SequenceExample { Features context = 1; tf_sequence.cc = 2 }
//   Features { map<string, Feature> feature = 1 }, an entry being { string key = 1; Feature value = 2 }
//   Feature { BytesList = 1 | FloatList = 2 | Int64List = 3 }, each { repeated value = 1 }, packed or not
#include <algorithm>

#include "base/endian.h"
#include "format/proto_fields.h"
#include "format/tfrecord.h"

namespace headrace {
namespace {

constexpr size_t kFeaturesMax = 4'096;
// How many varints lie in packed bytes; their ends are the bytes without the high bit.
bool count_varints(Bytes packed, uint64_t& count) {
  uint64_t length = 0;
  for (std::byte b : packed) {
    if (++length > 10) return false;
    if ((static_cast<uint8_t>(b) & 0x80) != 0) continue;
    ++count;
    length = 0;
  }
  return length == 0;
}

bool count_values(TfFeature& feature) {
  ProtoFields list(feature.list);
  feature.values = 0;
  while (list.next()) {
    if (list.number != 1) continue;
    if (feature.kind == TfFeature::Kind::kBytes) {
      if (list.wire != ProtoWire::kBytes) return false;
      ++feature.values;
    } else if (feature.kind == TfFeature::Kind::kFloat) {
      const bool packed = list.wire == ProtoWire::kBytes && list.bytes.size() % 4 == 0;
      if (list.wire != ProtoWire::kFixed32 && !packed) return false;
      feature.values += list.bytes.size() / 4;
    } else if (list.wire == ProtoWire::kVarint) {
      ++feature.values;
    } else if (list.wire != ProtoWire::kBytes || !count_varints(list.bytes, feature.values)) {
      return false;
    }
  }
  return list.good();
}

bool read_entry(Bytes message, TfFeature& feature) {
  ProtoFields fields(message);
  while (fields.next()) {
    if (fields.number > 2) continue;
    if (fields.wire != ProtoWire::kBytes) return false;
    if (fields.number == 1) feature.name = as_text(fields.bytes);
    else if (!read_tf_feature(fields.bytes, feature))
      return false;
  }
  return fields.good();
}

}  // namespace

// The oneof's last one counts.
bool read_tf_feature(Bytes message, TfFeature& feature) {
  ProtoFields fields(message);
  feature.kind = TfFeature::Kind::kNone;
  feature.values = 0;
  while (fields.next()) {
    if (fields.number < 1 || fields.number > 3) continue;
    if (fields.wire != ProtoWire::kBytes) return false;
    feature.kind = static_cast<TfFeature::Kind>(fields.number);
    feature.list = fields.bytes;
  }
  return fields.good() && (feature.kind == TfFeature::Kind::kNone || count_values(feature));
}

Status read_tf_features(Bytes record, std::vector<TfFeature>& features) {
  const Status bad = corrupt("the record is no tf.train.Example");
  ProtoFields example(record);
  while (example.next()) {
    if (example.number != 1) continue;
    if (example.wire != ProtoWire::kBytes) return bad;
    ProtoFields map(example.bytes);
    while (map.next()) {
      if (map.number != 1) continue;
      TfFeature feature;
      if (map.wire != ProtoWire::kBytes || !read_entry(map.bytes, feature)) return bad;
      if (features.size() == kFeaturesMax) {
        return exhausted("the record has more than " + std::to_string(kFeaturesMax) + " features");
      }
      std::erase_if(features, [&](const TfFeature& f) { return f.name == feature.name; });
      features.push_back(feature);
    }
    if (!map.good()) return bad;
  }
  return example.good() ? Status() : bad;
}

void copy_tf_floats(const TfFeature& feature, char* out) {
  ProtoFields list(feature.list);
  while (list.next()) {
    if (list.number != 1) continue;
    std::copy_n(reinterpret_cast<const char*>(list.bytes.data()), list.bytes.size(), out);
    out += list.bytes.size();
  }
}

void copy_tf_ints(const TfFeature& feature, char* out) {
  ProtoFields list(feature.list);
  while (list.next()) {
    if (list.number != 1) continue;
    if (list.wire == ProtoWire::kVarint) {
      store_le<uint64_t>(out, list.varint);
      out += 8;
      continue;
    }
    uint64_t value = 0;
    uint32_t shift = 0;
    for (std::byte b : list.bytes) {
      if (shift < 64) value |= uint64_t{static_cast<uint8_t>(b) & 0x7fu} << shift;
      shift += 7;
      if ((static_cast<uint8_t>(b) & 0x80) != 0) continue;
      store_le<uint64_t>(out, value);
      out += 8;
      value = shift = 0;
    }
  }
}

Bytes first_tf_bytes(const TfFeature& feature) {
  ProtoFields list(feature.list);
  while (list.next()) {
    if (list.number == 1) return list.bytes;
  }
  return {};
}

}  // namespace headrace
