// SPDX-License-Identifier: Apache-2.0
//
// Values of other formats as JSON text: numbers and binary. What is JSON's and not whole numbers' or text's is decided
// here, once.
#pragma once

#include <charconv>
#include <string>

#include "base/bytes.h"

namespace headrace {

template <class T>
void append_json_number(T value, std::string& out) {
  char text[40];
  const auto end = std::to_chars(text, text + sizeof text, value).ptr;
  out.append(text, end);
}
// The shortest text that gives it back as a float (`is_single`) or a double; always told from an integer. NaN is null,
// since JSON has none, infinities are 1e999.
void append_json_float(double value, bool is_single, std::string& out);
// Base64 text, in quotes.
void append_json_base64(Bytes bytes, std::string& out);

}  // namespace headrace
