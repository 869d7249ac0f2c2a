// SPDX-License-Identifier: Apache-2.0
#include "format/arrow_value.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/checked.h"
#include "base/endian.h"
#include "format/json_value.h"

namespace headrace {
namespace {

bool bit(const void* bits, int64_t i) {
  return (static_cast<const uint8_t*>(bits)[i / 8] >> (i % 8) & 1) != 0;
}

std::string_view after(std::string_view text, char mark) {
  const size_t at = text.find(mark);
  return at == std::string_view::npos ? std::string_view() : text.substr(at + 1);
}

// "d:precision,scale[,bits]"
struct DecimalType {
  int64_t scale = 0;
  uint64_t bytes = 16;
};
DecimalType decimal_type(std::string_view format) {
  DecimalType out;
  const std::string_view scale = after(format, ',');
  const std::string_view bits = after(scale, ',');
  std::from_chars(scale.data(), scale.data() + scale.size(), out.scale);
  if (const auto n = parse_decimal(bits)) out.bytes = *n / 8;
  return out;
}

// Digits of a two's complement number of 32-bit limbs, little-endian, without its sign; `negative` says it.
std::string digits_of(Bytes value, bool& negative) {
  std::array<uint32_t, 8> limbs{};
  const size_t n = std::min<size_t>(value.size() / 4, limbs.size());
  for (size_t i = 0; i < n; ++i) limbs[i] = load_le<uint32_t>(value.data() + 4 * i);
  negative = n > 0 && (limbs[n - 1] >> 31) != 0;
  uint64_t carry = 1;
  for (size_t i = 0; negative && i < n; ++i) {
    carry += static_cast<uint32_t>(~limbs[i]);
    limbs[i] = static_cast<uint32_t>(carry);
    carry >>= 32;
  }
  std::string digits;
  while (std::ranges::any_of(limbs, [](uint32_t limb) { return limb != 0; })) {
    uint64_t rest = 0;
    for (size_t i = n; i-- > 0;) {
      rest = rest << 32 | limbs[i];
      limbs[i] = static_cast<uint32_t>(rest / 10);
      rest %= 10;
    }
    digits += static_cast<char>('0' + rest);
  }
  if (digits.empty()) digits = "0";
  std::ranges::reverse(digits);
  return digits;
}

void append_text(std::string_view text, std::string& out) {
  out += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      constexpr std::string_view kHex = "0123456789abcdef";
      out += "\\u00";
      out += kHex[static_cast<size_t>(c >> 4)];
      out += kHex[static_cast<size_t>(c & 15)];
    } else {
      out += c;
    }
  }
  out += '"';
}

float half_to_float(uint16_t half) {
  const int exponent = half >> 10 & 31;
  const int mantissa = half & 1023;
  double value = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  if (exponent == 31) value = mantissa == 0 ? INFINITY : NAN;
  return static_cast<float>((half & 0x8000) != 0 ? -value : value);
}

// Numbers, dates and times by their format's letter.
void append_fixed(const ArrowCell& cell, char letter, std::string& out) {
  const Bytes b = cell.fixed(ArrowCell::fixed_width(cell.format()));
  switch (letter) {
    case 'c': append_json_number(static_cast<int>(load_le<int8_t>(b.data())), out); break;
    case 'C': append_json_number(static_cast<int>(load_le<uint8_t>(b.data())), out); break;
    case 's': append_json_number(load_le<int16_t>(b.data()), out); break;
    case 'S': append_json_number(load_le<uint16_t>(b.data()), out); break;
    case 'i': append_json_number(load_le<int32_t>(b.data()), out); break;
    case 'I': append_json_number(load_le<uint32_t>(b.data()), out); break;
    case 'l': append_json_number(load_le<int64_t>(b.data()), out); break;
    case 'L': append_json_number(load_le<uint64_t>(b.data()), out); break;
    case 'e': append_json_float(static_cast<double>(half_to_float(load_le<uint16_t>(b.data()))), true, out); break;
    case 'f': append_json_float(static_cast<double>(load_le<float>(b.data())), true, out); break;
    case 'g': append_json_float(load_le<double>(b.data()), false, out); break;
    default:
      if (b.size() == 4) append_json_number(load_le<int32_t>(b.data()), out);
      else if (b.size() == 8) append_json_number(load_le<int64_t>(b.data()), out);
      else append_json_base64(b, out);
  }
}

void append_list(const ArrowCell& cell, std::string& out) {
  int64_t length = 0;
  ArrowCell item = cell.list_begin(length);
  out += '[';
  for (int64_t i = 0; i < length; ++i, ++item.at) {
    if (i > 0) out += ',';
    const bool is_entry = cell.format() == "+m" && !item.is_null();
    if (!is_entry) {
      append_json(item, out);
      continue;
    }
    out += '[';
    append_json(item.child(0), out);
    out += ',';
    append_json(item.child(1), out);
    out += ']';
  }
  out += ']';
}

void append_struct(const ArrowCell& cell, std::string& out) {
  out += '{';
  for (int64_t i = 0; i < cell.schema->n_children; ++i) {
    if (i > 0) out += ',';
    append_text(cell.schema->children[i]->name, out);
    out += ':';
    append_json(cell.child(i), out);
  }
  out += '}';
}

}  // namespace

bool ArrowCell::is_null() const {
  if (format() == "n") return true;
  if (array->null_count == 0 || array->n_buffers == 0 || array->buffers[0] == nullptr) return false;
  return !bit(array->buffers[0], array->offset + at);
}

uint64_t ArrowCell::fixed_width(std::string_view format) {
  if (format.empty()) return 0;
  switch (format[0]) {
    case 'c': case 'C': return 1;
    case 's': case 'S': case 'e': return 2;
    case 'i': case 'I': case 'f': return 4;
    case 'l': case 'L': case 'g': return 8;
    case 'w': return parse_decimal(after(format, ':')).value_or(0);
    case 'd': return decimal_type(format).bytes;
    case 't':
      if (format == "tdD" || format == "tts" || format == "ttm" || format == "tiM") return 4;
      return format == "tin" ? 16 : 8;
    default: return 0;
  }
}

ArrowCell ArrowCell::resolved() const {
  if (schema->dictionary == nullptr || is_null()) return *this;
  const Bytes raw = fixed(fixed_width(format()));
  uint64_t index = 0;
  std::copy(raw.begin(), raw.end(), reinterpret_cast<std::byte*>(&index));  // indexes are not negative
  return {schema->dictionary, array->dictionary, static_cast<int64_t>(index)};
}

bool ArrowCell::boolean() const { return bit(array->buffers[1], array->offset + at); }

Bytes ArrowCell::fixed(uint64_t width) const {
  const auto* values = static_cast<const std::byte*>(array->buffers[1]);
  return {values + static_cast<uint64_t>(array->offset + at) * width, width};
}

Bytes ArrowCell::variable() const {
  const int64_t i = array->offset + at;
  uint64_t begin, end;
  if (format()[0] == 'U' || format()[0] == 'Z') {
    const auto* offsets = static_cast<const int64_t*>(array->buffers[1]);
    begin = static_cast<uint64_t>(offsets[i]);
    end = static_cast<uint64_t>(offsets[i + 1]);
  } else {
    const auto* offsets = static_cast<const int32_t*>(array->buffers[1]);
    begin = static_cast<uint64_t>(offsets[i]);
    end = static_cast<uint64_t>(offsets[i + 1]);
  }
  static constexpr std::byte kNothing{};
  const auto* data = static_cast<const std::byte*>(array->buffers[2]);
  return data == nullptr ? Bytes{&kNothing, 0} : Bytes{data + begin, end - begin};
}

ArrowCell ArrowCell::list_begin(int64_t& length) const {
  const int64_t i = array->offset + at;
  ArrowCell first{schema->children[0], array->children[0], 0};
  if (format().starts_with("+w:")) {
    length = static_cast<int64_t>(parse_decimal(format().substr(3)).value_or(0));
    first.at = i * length;
  } else if (format() == "+L") {
    const auto* offsets = static_cast<const int64_t*>(array->buffers[1]);
    first.at = offsets[i];
    length = offsets[i + 1] - offsets[i];
  } else {  // "+l", "+m"
    const auto* offsets = static_cast<const int32_t*>(array->buffers[1]);
    first.at = offsets[i];
    length = offsets[i + 1] - offsets[i];
  }
  return first;
}

ArrowCell ArrowCell::child(int64_t i) const { return {schema->children[i], array->children[i], array->offset + at}; }

std::string ArrowCell::decimal() const {
  const DecimalType type = decimal_type(format());
  bool negative = false;
  std::string digits = digits_of(fixed(type.bytes), negative);
  if (type.scale < 0) digits.append(static_cast<size_t>(-type.scale), '0');
  if (type.scale > 0) {
    const auto scale = static_cast<size_t>(type.scale);
    if (digits.size() <= scale) digits.insert(0, scale + 1 - digits.size(), '0');
    digits.insert(digits.size() - scale, ".");
  }
  return negative ? "-" + digits : digits;
}

void append_json(const ArrowCell& given, std::string& out) {
  const ArrowCell cell = given.resolved();
  const std::string_view format = cell.format();
  if (cell.is_null()) {
    out += "null";
  } else if (format == "b") {
    out += cell.boolean() ? "true" : "false";
  } else if (format == "u" || format == "U") {
    append_text(as_text(cell.variable()), out);
  } else if (format == "z" || format == "Z") {
    append_json_base64(cell.variable(), out);
  } else if (format[0] == 'd') {
    append_text(cell.decimal(), out);
  } else if (format == "+s") {
    append_struct(cell, out);
  } else if (format[0] == '+') {
    append_list(cell, out);
  } else {
    append_fixed(cell, format[0], out);
  }
}

}  // namespace headrace
