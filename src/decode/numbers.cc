// SPDX-License-Identifier: Apache-2.0
#include "decode/numbers.h"

#include <charconv>
#include <limits>
#include <system_error>

#include "base/endian.h"
#include "decode/text.h"

namespace headrace {
namespace {

// 309 digits are the longest double written without an exponent; Python prints none longer than
// this.
constexpr size_t kNumberBytesMax = 512;

std::string_view trimmed(Bytes bytes) {
  std::string_view text = as_text(bytes);
  const char* const blank = " \t\n\r\v\f";
  const size_t begin = text.find_first_not_of(blank);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(blank) - begin + 1);
}

Status not_a_number(std::string_view what, Bytes text) {
  return corrupt("parse " + std::string(what) + ": not one: " + quoted(text));
}

template <class T>
Status store_integer(std::string_view digits, bool negative, Bytes text, std::byte* out) {
  const auto magnitude = parse_decimal(digits);
  constexpr uint64_t max = static_cast<uint64_t>(std::numeric_limits<T>::max());
  constexpr uint64_t max_negative = std::numeric_limits<T>::is_signed ? max + 1 : 0;
  if (!magnitude || *magnitude > (negative ? max_negative : max)) {
    return unsupported(
        "parse integer: does not fit in " + std::to_string(sizeof(T) * 8) +
        (std::numeric_limits<T>::is_signed ? " bits, signed: " : " bits, unsigned: ") +
        quoted(text) + "; give the column a wider dtype, or decode the field as text");
  }
  store_le<T>(out, static_cast<T>(negative ? 0 - *magnitude : *magnitude));
  return {};
}

}  // namespace

Status parse_integer(Bytes text, Dtype dtype, std::byte* out) {
  std::string_view digits = trimmed(text);
  const bool negative = digits.starts_with('-');
  if (negative || digits.starts_with('+')) digits.remove_prefix(1);
  if (digits.empty() || digits.find_first_not_of("0123456789") != std::string_view::npos) {
    return not_a_number("integer", text);
  }
  // Leading zeros ("000017") are common in labels and not part of the magnitude.
  digits.remove_prefix(std::min(digits.find_first_not_of('0'), digits.size() - 1));
  switch (dtype) {
    case Dtype::kU8:
      return store_integer<uint8_t>(digits, negative, text, out);
    case Dtype::kI8:
      return store_integer<int8_t>(digits, negative, text, out);
    case Dtype::kU16:
      return store_integer<uint16_t>(digits, negative, text, out);
    case Dtype::kI16:
      return store_integer<int16_t>(digits, negative, text, out);
    case Dtype::kU32:
      return store_integer<uint32_t>(digits, negative, text, out);
    case Dtype::kI32:
      return store_integer<int32_t>(digits, negative, text, out);
    case Dtype::kU64:
      return store_integer<uint64_t>(digits, negative, text, out);
    case Dtype::kI64:
      return store_integer<int64_t>(digits, negative, text, out);
    default:
      break;
  }
  return invalid_argument("parse integer: no integer type: " + std::string(dtype_name(dtype)));
}

Status parse_float(Bytes text, Dtype dtype, std::byte* out) {
  std::string_view number = trimmed(text);
  if (number.starts_with('+') && !number.starts_with("+-")) number.remove_prefix(1);
  if (number.size() > kNumberBytesMax) return not_a_number("float", text);
  const auto parse = [&](auto value) -> Status {
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
    const bool whole = end == number.data() + number.size() && !number.empty();
    // "nan(...)" is C's, not Python's.
    if (!whole || number.ends_with(')')) return not_a_number("float", text);
    if (error == std::errc::result_out_of_range) {
      // Python rounds 1e999 to inf and 1e-999 to 0; a label that overflows is a fault in the data.
      return corrupt("parse float: out of range of " + std::string(dtype_name(dtype)) + ": " +
                     quoted(text));
    }
    if (error != std::errc()) return not_a_number("float", text);
    store_le(out, value);
    return {};
  };
  if (dtype == Dtype::kF64) return parse(double{});
  if (dtype == Dtype::kF32) return parse(float{});
  return invalid_argument("parse float: no float32 or float64: " + std::string(dtype_name(dtype)));
}

Status check_decimal(Bytes text) {
  std::string_view rest = as_text(text);
  if (rest.starts_with('-') || rest.starts_with('+')) rest.remove_prefix(1);
  if (rest == "Infinity" || rest == "NaN" || rest == "sNaN") return {};
  const auto digits = [&rest] {
    size_t n = std::min(rest.find_first_not_of("0123456789"), rest.size());
    rest.remove_prefix(n);
    return n;
  };
  size_t count = digits();
  if (rest.starts_with('.')) {
    rest.remove_prefix(1);
    count += digits();
  }
  bool good = count > 0;
  if (good && (rest.starts_with('E') || rest.starts_with('e'))) {
    rest.remove_prefix(1);
    if (rest.starts_with('-') || rest.starts_with('+')) rest.remove_prefix(1);
    good = digits() > 0;
  }
  if (!good || !rest.empty()) return not_a_number("decimal", text);
  return {};
}

}  // namespace headrace
