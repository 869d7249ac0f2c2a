// SPDX-License-Identifier: Apache-2.0
//
// The three ways in which S3 writes a time, all in UTC. Pure; years 1970 to 9999.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace headrace {

std::string format_amz_date(int64_t unix_seconds);                     // "20130524T000000Z"
std::string iso_time(int64_t unix_seconds);                            // "2013-05-24T00:00:00Z"
std::optional<int64_t> parse_http_date(std::string_view text);         // "Fri, 24 May 2013 00:00:00 GMT"
std::optional<int64_t> parse_iso_time(std::string_view text);          // "2009-10-12T17:50:30.000Z"

}  // namespace headrace
