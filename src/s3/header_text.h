// SPDX-License-Identifier: Apache-2.0
//
// Values of the HTTP headers that S3Store believes or checks. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "net/http_transport.h"

namespace headrace {

// An ETag without its dressing: quotes (some stores leave them out) and the weak mark W/.
std::string bare_etag(std::string_view text);

// What says that two replies are of the same object: the strong ETag; else, at servers that have none, "W/" and the
// weak one, or "date:" and Last-Modified. "" when the reply has none of them.
std::string validator_of(const HttpHeaders& headers, bool plain_server);
// May it stand in If-Match? (RFC 9110 13.1.1: weak ones never match.)
bool is_strong(std::string_view validator);

struct ContentRange {
  std::optional<ByteRange> range;  // nothing in "bytes */1234"
  std::optional<uint64_t> total;   // nothing in "bytes 0-9/*"
};
// "bytes 0-9/1234"; nothing when malformed, or when the range does not lie in the total.
std::optional<ContentRange> parse_content_range(std::string_view text);

// "bytes=0-9" of [0, 10); the range is not empty.
std::string range_header(ByteRange range);

}  // namespace headrace
