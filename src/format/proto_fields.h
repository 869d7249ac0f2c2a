// SPDX-License-Identifier: Apache-2.0
//
// ProtoFields: the fields of one message in the protocol buffer wire format (protobuf.dev/programming-guides/encoding),
// one after another, as views. Knows no schema; groups, which no message that is read here has, are damage.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace headrace {

enum class ProtoWire : uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

// Takes a varint from the front of `rest`; false: cut off, or more than 64 bits.
inline bool take_varint(Bytes& rest, uint64_t& out) {
  out = 0;
  for (uint32_t shift = 0; shift < 64 && !rest.empty(); shift += 7) {
    const auto b = static_cast<uint8_t>(rest[0]);
    rest = rest.subspan(1);
    out |= uint64_t{b & 0x7fu} << shift;
    if ((b & 0x80) == 0) return shift < 63 || b <= 1;
  }
  return false;
}

// After an error it is over.
class ProtoFields {
 public:
  explicit ProtoFields(Bytes message) : rest_(message) {}

  // False at the end and at an error.
  bool next() {
    uint64_t tag = 0;
    if (rest_.empty() || !good_) return false;
    good_ = take_varint(rest_, tag) && tag <= UINT32_MAX && tag >> 3 != 0;
    number = static_cast<uint32_t>(tag >> 3);
    wire = static_cast<ProtoWire>(tag & 7);
    return good_ = good_ && value();
  }
  bool good() const { return good_; }
  bool is(uint32_t field, ProtoWire type) const { return number == field && wire == type; }

  uint32_t number = 0;
  ProtoWire wire = ProtoWire::kVarint;
  uint64_t varint = 0;
  Bytes bytes;  // of all wire types but varints

 private:
  bool value() {
    if (wire == ProtoWire::kVarint) return take_varint(rest_, varint);
    uint64_t size = wire == ProtoWire::kFixed64 ? 8 : wire == ProtoWire::kFixed32 ? 4 : 0;
    if (wire == ProtoWire::kBytes && !take_varint(rest_, size)) return false;
    if (size == 0 && wire != ProtoWire::kBytes) return false;
    if (size > rest_.size()) return false;
    bytes = rest_.first(size);
    rest_ = rest_.subspan(size);
    return true;
  }

  Bytes rest_;
  bool good_ = true;
};

}  // namespace headrace
