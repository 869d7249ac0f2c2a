// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as requests: the parser answers the same whether they come at once or in two parts,
// never takes more than it was given, and what it accepts has the parts it promises.
#include <cstddef>
#include <cstdint>

#include "net/http_parser.h"

using namespace headrace;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  RequestParser at_once(4096), in_parts(4096);
  ParsedRequest a, b;
  const auto whole = at_once.parse(text, a);
  auto parts = in_parts.parse(text.substr(0, data[0] % (text.size() + 1)), b);
  if (parts.ok() && !parts->has_value()) parts = in_parts.parse(text, b);
  HR_ASSERT(whole.ok() == parts.ok());
  if (!whole.ok() || !whole->has_value()) return 0;
  HR_ASSERT(*parts == *whole && **whole <= text.size());
  HR_ASSERT(a.method == b.method && a.target == b.target && a.headers == b.headers);
  HR_ASSERT(is_http_token(a.method) && is_http_target(a.target));
  for (const auto& [name, value] : a.headers)
    HR_ASSERT(is_http_token(name) && is_http_field_value(value));
  if (a.framing != BodyFraming::kLength) HR_ASSERT(a.content_length == 0);
  return 0;
}
