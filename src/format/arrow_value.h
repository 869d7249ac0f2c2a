// SPDX-License-Identifier: Apache-2.0
//
// One value of an Arrow array: whether it is null, its stored bytes, its JSON. Arrays come from a library that has
// validated them; nothing is checked again here but types.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "format/arrow_abi.h"

namespace headrace {

// Value `at` of an array (its offset not counted).
struct ArrowCell {
  const ArrowSchema* schema = nullptr;
  const ArrowArray* array = nullptr;
  int64_t at = 0;

  std::string_view format() const { return schema->format; }
  bool is_null() const;
  // What a dictionary's index stands for; other cells are returned as they are.
  ArrowCell resolved() const;
  // Bytes of a value of fixed width that is whole bytes; 0 for other types.
  static uint64_t fixed_width(std::string_view format);
  bool boolean() const;
  Bytes fixed(uint64_t width) const;
  Bytes variable() const;  // strings and binaries
  // A list's values: cells [at, at + length) of the child.
  ArrowCell list_begin(int64_t& length) const;
  ArrowCell child(int64_t i) const;  // of a struct
  std::string decimal() const;       // "-12.50"
};

// Appends the value as JSON. Binary is base64 text, decimals are text, dates and times their numbers, maps lists of
// [key, value]; NaN is null, since JSON has none.
void append_json(const ArrowCell& cell, std::string& out);

}  // namespace headrace
