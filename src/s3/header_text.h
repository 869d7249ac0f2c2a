// SPDX-License-Identifier: Apache-2.0
//
// Values of the HTTP headers that S3Store believes or checks. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace headrace {

// An ETag without its dressing: quotes (some stores leave them out) and the weak mark W/.
std::string bare_etag(std::string_view text);

struct ContentRange {
  std::optional<ByteRange> range;  // nothing in "bytes */1234"
  std::optional<uint64_t> total;   // nothing in "bytes 0-9/*"
};
// "bytes 0-9/1234"; nothing when malformed, or when the range does not lie in the total.
std::optional<ContentRange> parse_content_range(std::string_view text);

// "bytes=0-9" of [0, 10); the range is not empty.
std::string range_header(ByteRange range);

}  // namespace headrace
