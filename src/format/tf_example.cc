// SPDX-License-Identifier: Apache-2.0
//
// tf.train.Example from its protocol buffer wire format (tensorflow/core/example/{example,feature}.proto):
//   Example { Features features = 1 }            SequenceExample { Features context = 1; ... = 2 }
//   Features { map<string, Feature> feature = 1 }, an entry being { string key = 1; Feature value = 2 }
//   Feature { BytesList = 1 | FloatList = 2 | Int64List = 3 }, each { repeated value = 1 }, packed or not
#include <algorithm>

#include "base/endian.h"
#include "format/tfrecord.h"

namespace headrace {
namespace {

constexpr size_t kFeaturesMax = 4'096;
constexpr uint32_t kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5;

// One message's fields, one after another. After an error it is over.
class Fields {
 public:
  explicit Fields(Bytes message) : rest_(message) {}

  // False at the end and at an error.
  bool next() {
    uint64_t tag = 0;
    if (rest_.empty() || !good_) return false;
    good_ = varint(tag) && tag <= UINT32_MAX && tag >> 3 != 0;
    number = static_cast<uint32_t>(tag >> 3);
    wire = static_cast<uint32_t>(tag & 7);
    return good_ = good_ && value();
  }
  bool good() const { return good_; }

  uint32_t number = 0, wire = 0;
  uint64_t varint_value = 0;
  Bytes bytes;  // of wire types 1, 2, 5

 private:
  bool varint(uint64_t& out) {
    out = 0;
    for (uint32_t shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto b = static_cast<uint8_t>(rest_[0]);
      rest_ = rest_.subspan(1);
      out |= uint64_t{b & 0x7fu} << shift;
      if ((b & 0x80) == 0) return shift < 63 || b <= 1;
    }
    return false;
  }
  bool value() {
    if (wire == kVarint) return varint(varint_value);
    uint64_t size = wire == kFixed64 ? 8 : wire == kFixed32 ? 4 : 0;
    if (wire == kBytes && !varint(size)) return false;
    if (size == 0 && wire != kBytes) return false;  // groups, which no example has
    if (size > rest_.size()) return false;
    bytes = rest_.first(size);
    rest_ = rest_.subspan(size);
    return true;
  }

  Bytes rest_;
  bool good_ = true;
};

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
  Fields list(feature.list);
  feature.values = 0;
  while (list.next()) {
    if (list.number != 1) continue;
    if (feature.kind == TfFeature::Kind::kBytes) {
      if (list.wire != kBytes) return false;
      ++feature.values;
    } else if (feature.kind == TfFeature::Kind::kFloat) {
      if (list.wire != kFixed32 && (list.wire != kBytes || list.bytes.size() % 4 != 0)) return false;
      feature.values += list.bytes.size() / 4;
    } else if (list.wire == kVarint) {
      ++feature.values;
    } else if (list.wire != kBytes || !count_varints(list.bytes, feature.values)) {
      return false;
    }
  }
  return list.good();
}

// The oneof's last one counts.
bool read_feature(Bytes message, TfFeature& feature) {
  Fields fields(message);
  feature.kind = TfFeature::Kind::kNone;
  while (fields.next()) {
    if (fields.number < 1 || fields.number > 3) continue;
    if (fields.wire != kBytes) return false;
    feature.kind = static_cast<TfFeature::Kind>(fields.number);
    feature.list = fields.bytes;
  }
  return fields.good() && (feature.kind == TfFeature::Kind::kNone || count_values(feature));
}

bool read_entry(Bytes message, TfFeature& feature) {
  Fields fields(message);
  while (fields.next()) {
    if (fields.number > 2) continue;
    if (fields.wire != kBytes) return false;
    if (fields.number == 1) feature.name = as_text(fields.bytes);
    else if (!read_feature(fields.bytes, feature))
      return false;
  }
  return fields.good();
}

}  // namespace

Status read_tf_features(Bytes record, std::vector<TfFeature>& features) {
  const Status bad = corrupt("the record is no tf.train.Example");
  Fields example(record);
  while (example.next()) {
    if (example.number != 1) continue;
    if (example.wire != kBytes) return bad;
    Fields map(example.bytes);
    while (map.next()) {
      if (map.number != 1) continue;
      TfFeature feature;
      if (map.wire != kBytes || !read_entry(map.bytes, feature)) return bad;
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
  Fields list(feature.list);
  while (list.next()) {
    if (list.number != 1) continue;
    std::copy_n(reinterpret_cast<const char*>(list.bytes.data()), list.bytes.size(), out);
    out += list.bytes.size();
  }
}

void copy_tf_ints(const TfFeature& feature, char* out) {
  Fields list(feature.list);
  while (list.next()) {
    if (list.number != 1) continue;
    if (list.wire == kVarint) {
      store_le<uint64_t>(out, list.varint_value);
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
  Fields list(feature.list);
  while (list.next()) {
    if (list.number == 1) return list.bytes;
  }
  return {};
}

}  // namespace headrace
