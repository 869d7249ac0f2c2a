// SPDX-License-Identifier: Apache-2.0
#include "format/thrift.h"

#include <algorithm>

namespace headrace::thrift {
namespace {

constexpr int kVarintBytesMax = 10;

int64_t unzigzag(uint64_t value) { return static_cast<int64_t>(value >> 1) ^ -static_cast<int64_t>(value & 1); }
uint64_t zigzag(int64_t value) { return (static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63); }
bool is_integer(uint8_t type) { return type >= kI16 && type <= kI64; }

}  // namespace

uint64_t Reader::varint() {
  uint64_t value = 0;
  for (int i = 0; i < kVarintBytesMax; ++i) {
    if (at_ >= bytes_.size()) break;
    const auto byte = static_cast<uint64_t>(bytes_[at_++]);
    value |= (byte & 0x7f) << (7 * i);
    if (byte < 0x80) return value;
  }
  failed_ = true;
  return 0;
}

bool Reader::next(Field& field) {
  if (failed_ || at_ >= bytes_.size()) return fail();
  const auto head = static_cast<uint8_t>(bytes_[at_++]);
  if (head == kStop) return false;
  field.type = head & 0x0f;
  const int32_t step = head >> 4;
  if (step != 0) {
    field.id += step;
  } else {
    const int64_t id = unzigzag(varint());
    if (id < INT16_MIN || id > INT16_MAX) return fail();
    field.id = static_cast<int32_t>(id);
  }
  if (field.type == kStop || field.type > kStruct || field.id > INT16_MAX) return fail();
  return !failed_;
}

int64_t Reader::integer(const Field& field) {
  if (!is_integer(field.type)) fail();
  return failed_ ? 0 : unzigzag(varint());
}

bool Reader::boolean(const Field& field) {
  if (field.type != kTrue && field.type != kFalse) fail();
  return !failed_ && field.type == kTrue;
}

std::string_view Reader::binary(const Field& field) {
  if (field.type != kBinary) fail();
  return list_binary();
}

std::string_view Reader::list_binary() {
  const uint64_t size = failed_ ? 0 : varint();
  if (failed_ || size > bytes_.size() - at_) {
    fail();
    return {};
  }
  const std::string_view text = as_text(bytes_.subspan(at_, size));
  at_ += size;
  return text;
}

int64_t Reader::list_integer() { return failed_ ? 0 : unzigzag(varint()); }

uint32_t Reader::list(const Field& field, uint8_t type) {
  if (failed_ || field.type != kList || at_ >= bytes_.size()) {
    fail();
    return 0;
  }
  const auto head = static_cast<uint8_t>(bytes_[at_++]);
  uint64_t size = head >> 4;
  if (size == 15) size = varint();
  const uint8_t has = head & 0x0f;
  const bool same = has == type || (is_integer(has) && is_integer(type));
  if (failed_ || size > bytes_.size() - at_ || (size > 0 && !same)) {
    fail();
    return 0;
  }
  return static_cast<uint32_t>(std::min<uint64_t>(size, UINT32_MAX));
}

bool Reader::enter(const Field& field) { return field.type == kStruct ? !failed_ : fail(); }

void Reader::skip(const Field& field) { skip_value(field.type, 0, false); }

void Reader::skip_value(uint8_t type, int depth, bool in_list) {
  if (failed_ || depth > kDepthMax) {
    fail();
    return;
  }
  const auto pass = [this](uint64_t n) {
    if (n > bytes_.size() - at_) fail();
    else at_ += n;
  };
  if (type == kTrue || type == kFalse) {
    if (in_list) pass(1);
  } else if (type == kByte) {
    pass(1);
  } else if (is_integer(type)) {
    varint();
  } else if (type == kDouble) {
    pass(8);
  } else if (type == kBinary) {
    list_binary();
  } else if (type == kStruct) {
    Field field;
    while (next(field)) skip_value(field.type, depth + 1, false);
  } else if (type == kList || type == kSet) {
    if (at_ >= bytes_.size()) {
      fail();
      return;
    }
    const auto head = static_cast<uint8_t>(bytes_[at_++]);
    const uint64_t size = (head >> 4) == 15 ? varint() : head >> 4;
    if (size > bytes_.size() - at_) fail();
    for (uint64_t i = 0; i < size && !failed_; ++i) skip_value(head & 0x0f, depth + 1, true);
  } else {
    fail();  // maps: Parquet has none
  }
}

void Writer::varint(uint64_t value) {
  for (; value >= 0x80; value >>= 7) out_ += static_cast<char>(value | 0x80);
  out_ += static_cast<char>(value);
}

void Writer::header(int32_t id, uint8_t type) {
  const int32_t step = id - last_.back();
  last_.back() = id;
  if (step > 0 && step < 16) {
    out_ += static_cast<char>(step << 4 | type);
  } else {
    out_ += static_cast<char>(type);
    varint(zigzag(id));
  }
}

void Writer::end_struct() {
  out_ += '\0';
  last_.pop_back();
}
void Writer::integer(int32_t id, uint8_t type, int64_t value) {
  header(id, type);
  varint(zigzag(value));
}
void Writer::binary(int32_t id, std::string_view text) {
  header(id, kBinary);
  list_binary(text);
}
void Writer::raw_struct(int32_t id, std::string_view encoded) {
  header(id, kStruct);
  out_ += encoded;
}
void Writer::structure(int32_t id) { header(id, kStruct); }
void Writer::list(int32_t id, uint8_t type, size_t size) {
  header(id, kList);
  if (size < 15) {
    out_ += static_cast<char>(size << 4 | type);
  } else {
    out_ += static_cast<char>(0xf0 | type);
    varint(size);
  }
}
void Writer::list_integer(int64_t value) { varint(zigzag(value)); }
void Writer::list_binary(std::string_view text) {
  varint(text.size());
  out_ += text;
}

}  // namespace headrace::thrift
