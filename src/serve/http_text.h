// SPDX-License-Identifier: Apache-2.0
//
// The small texts of HTTP and S3: percent coding, dates, Range, ETag lists. Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"

namespace headrace::serve {

// Percent-decoding, once; with `plus_is_space` as in query strings. nullopt on a broken escape or a
// NUL byte.
std::optional<std::string> percent_decoded(std::string_view text, bool plus_is_space);
// AWS's UriEncode: everything but A-Z a-z 0-9 - . _ ~ (and '/' where kept) as %XX, upper case.
void append_percent_encoded(std::string& out, std::string_view text, bool keep_slash);
bool needs_percent_encoding(std::string_view text, bool keep_slash);

using QueryPairs = std::vector<std::pair<std::string, std::string>>;  // decoded, in the order given
// nullopt on a broken escape. "a" without '=' is ("a", "").
std::optional<QueryPairs> parse_query(std::string_view query);
const std::string* find_pair(const QueryPairs& pairs, std::string_view name);

std::string http_date(int64_t unix_seconds);  // "Sun, 06 Nov 1994 08:49:37 GMT"
std::optional<int64_t> parse_http_date(
    std::string_view text);                  // that form only (RFC 9110 IMF-fixdate)
std::string iso_date(int64_t unix_seconds);  // "1994-11-06T08:49:37.000Z"
std::optional<int64_t> parse_amz_date(std::string_view text);  // "19941106T084937Z"

// What a Range header means for an object of `size` bytes.
struct RangeAnswer {
  enum class Kind { kWhole, kPart, kUnsatisfiable } kind = Kind::kWhole;
  ByteRange range;
};
// Like S3: a header that is malformed, in another unit, or has several ranges is ignored.
RangeAnswer resolve_range(std::string_view header, uint64_t size);

// If-Match / If-None-Match: "*", or a comma separated list of (weak) quoted or bare tags.
bool etag_matches(std::string_view header, std::string_view etag);

// XML character data. Characters that XML 1.0 cannot carry become U+FFFD.
void append_xml_escaped(std::string& out, std::string_view text);
// A JSON string with its quotes. Bytes that are no UTF-8 become U+FFFD.
void append_json_string(std::string& out, std::string_view text);

}  // namespace headrace::serve
