// SPDX-License-Identifier: Apache-2.0
//
// Arithmetic on sizes that came from outside: overflow is an answer, not a wrap-around.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace headrace {

inline std::optional<uint64_t> checked_add(uint64_t a, uint64_t b) {
  uint64_t sum;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}
inline std::optional<uint64_t> checked_mul(uint64_t a, uint64_t b) {
  uint64_t product;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}
// a rounded up to a multiple of `step` (> 0).
inline std::optional<uint64_t> checked_round_up(uint64_t a, uint64_t step) {
  auto sum = checked_add(a, step - 1);
  if (!sum) return std::nullopt;
  return *sum / step * step;
}
// Decimal digits only, no sign, no blank, no overflow.
inline std::optional<uint64_t> parse_decimal(std::string_view text) {
  if (text.empty() || text.size() > 20) return std::nullopt;
  uint64_t value = 0;
  for (char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    if (__builtin_mul_overflow(value, uint64_t{10}, &value)) return std::nullopt;
    if (__builtin_add_overflow(value, static_cast<uint64_t>(c - '0'), &value)) return std::nullopt;
  }
  return value;
}

}  // namespace headrace
