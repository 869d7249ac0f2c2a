// SPDX-License-Identifier: Apache-2.0
#include "format/json_value.h"

#include <algorithm>
#include <cmath>

namespace headrace {

void append_json_float(double value, bool is_single, std::string& out) {
  if (std::isnan(value)) out += "null";
  else if (std::isinf(value)) out += value > 0 ? "1e999" : "-1e999";
  else {
    const size_t begin = out.size();
    if (is_single) append_json_number(static_cast<float>(value), out);
    else append_json_number(value, out);
    if (out.find_first_of(".e", begin) == std::string::npos) out += ".0";  // a whole number, but no integer
  }
}

void append_json_base64(Bytes bytes, std::string& out) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  out += '"';
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t n = std::min<size_t>(3, bytes.size() - i);
    uint32_t word = 0;
    for (size_t k = 0; k < 3; ++k) word = word << 8 | (k < n ? static_cast<uint32_t>(bytes[i + k]) : 0);
    for (size_t k = 0; k < 4; ++k) out += k <= n ? kDigits[word >> (18 - 6 * k) & 63] : '=';
  }
  out += '"';
}

}  // namespace headrace
