// SPDX-License-Identifier: Apache-2.0
//
// Reading of flatbuffers (flatbuffers.dev/internals): tables of little-endian fields found by offsets, every one of
// which is checked against the bytes. Only what Arrow's messages need: scalars, texts, tables and vectors of tables.
// A field that is absent, or lies outside, is its default; at_fault() says whether one lay outside.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/bytes.h"
#include "base/endian.h"

namespace headrace {

class FlatTable {
 public:
  FlatTable() = default;
  static FlatTable root(Bytes bytes, bool* fault) {
    FlatTable none{bytes, 0, fault};
    uint32_t at = 0;
    return none.load(0, at) ? none.table_at(at) : none.failed();
  }

  bool is_there() const { return at_ != 0; }
  // Field `id` of a table, as numbered in the schema.
  template <class T>
  T number(uint32_t id, T absent) const {
    const uint64_t at = place(id);
    T value = absent;
    if (at != 0 && !load(at, value)) fail();
    return value;
  }
  std::string_view text(uint32_t id) const {
    uint64_t begin = 0;
    uint32_t size = 0;
    if (!vector(id, 1, begin, size)) return {};
    return as_text(bytes_.subspan(begin, size));
  }
  FlatTable table(uint32_t id) const {
    const uint64_t at = place(id);
    uint32_t offset = 0;
    if (at == 0) return {bytes_, 0, fault_};
    return load(at, offset) ? table_at(at + offset) : failed();
  }
  uint32_t tables(uint32_t id) const {  // how many
    uint64_t begin = 0;
    uint32_t size = 0;
    return vector(id, 4, begin, size) ? size : 0;
  }
  FlatTable table(uint32_t id, uint32_t i) const {
    uint64_t begin = 0;
    uint32_t size = 0, offset = 0;
    if (!vector(id, 4, begin, size) || i >= size) return failed();
    const uint64_t at = begin + 4 * uint64_t{i};
    return load(at, offset) ? table_at(at + offset) : failed();
  }

 private:
  FlatTable(Bytes bytes, uint64_t at, bool* fault) : bytes_(bytes), at_(at), fault_(fault) {}
  template <class T>
  bool load(uint64_t at, T& value) const {
    if (at > bytes_.size() || bytes_.size() - at < sizeof(T)) return false;
    value = load_le<T>(bytes_.data() + at);
    return true;
  }
  void fail() const {
    if (fault_ != nullptr) *fault_ = true;
  }
  FlatTable failed() const {
    fail();
    return {bytes_, 0, fault_};
  }
  FlatTable table_at(uint64_t at) const {
    int32_t back = 0;
    return at != 0 && load(at, back) ? FlatTable{bytes_, at, fault_} : failed();
  }
  // Where a field's value lies; 0: it is absent.
  uint64_t place(uint32_t id) const {
    if (at_ == 0) return 0;
    int32_t back = 0;
    uint16_t vtable_bytes = 0, offset = 0;
    load(at_, back);
    const int64_t vtable = static_cast<int64_t>(at_) - back;
    if (vtable < 0 || !load(static_cast<uint64_t>(vtable), vtable_bytes)) {
      fail();
      return 0;
    }
    const uint64_t entry = 4 + 2 * uint64_t{id};
    if (entry + 2 > vtable_bytes) return 0;
    if (!load(static_cast<uint64_t>(vtable) + entry, offset)) fail();
    return offset == 0 ? 0 : at_ + offset;
  }
  // The elements of a vector, of `each` bytes at least.
  bool vector(uint32_t id, uint64_t each, uint64_t& begin, uint32_t& size) const {
    const uint64_t at = place(id);
    uint32_t offset = 0;
    if (at == 0) return false;
    if (!load(at, offset) || !load(at + offset, size) || (bytes_.size() - at - offset - 4) / each < size) {
      fail();
      return false;
    }
    begin = at + offset + 4;
    return true;
  }

  Bytes bytes_;
  uint64_t at_ = 0;  // 0: absent; no table begins there
  bool* fault_ = nullptr;
};

}  // namespace headrace
