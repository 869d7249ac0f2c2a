// SPDX-License-Identifier: Apache-2.0
#include "s3/time_text.h"

#include <cstdio>

#include "base/checked.h"

namespace headrace {
namespace {

constexpr int64_t kDaySeconds = 86400;

// Days since 1970-01-01 of a date in the Gregorian calendar, and back (H. Hinnant, "chrono-Compatible Low-Level Date
// Algorithms"): years are counted from March, so that the leap day is the last one.
int64_t days_of(int64_t year, int64_t month, int64_t day) {
  year -= month <= 2;
  const int64_t era = year / 400;
  const int64_t year_of_era = year - era * 400;
  const int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

struct Date {
  int64_t year, month, day;
};
Date date_of(int64_t days) {
  days += 719468;
  const int64_t era = days / 146097;
  const int64_t day_of_era = days - era * 146097;
  const int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  const int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const int64_t march_month = (5 * day_of_year + 2) / 153;
  const int64_t month = march_month + (march_month < 10 ? 3 : -9);
  return {year_of_era + era * 400 + (month <= 2), month, day_of_year - (153 * march_month + 2) / 5 + 1};
}

// Decimal digits at [at, at + count) of a text that is long enough.
std::optional<int64_t> digits(std::string_view text, size_t at, size_t count) {
  const auto value = parse_decimal(text.substr(at, count));
  if (!value) return std::nullopt;
  return static_cast<int64_t>(*value);
}

std::optional<int64_t> unix_of(std::optional<int64_t> year, std::optional<int64_t> month, std::optional<int64_t> day,
                               std::string_view clock) {  // "hh:mm:ss"
  if (clock.size() != 8 || clock[2] != ':' || clock[5] != ':') return std::nullopt;
  const auto hour = digits(clock, 0, 2), minute = digits(clock, 3, 2), second = digits(clock, 6, 2);
  if (!year || !month || !day || !hour || !minute || !second) return std::nullopt;
  if (*year < 1970 || *month < 1 || *month > 12 || *day < 1 || *day > 31 || *hour > 23 || *minute > 59 ||
      *second > 60) {
    return std::nullopt;
  }
  return days_of(*year, *month, *day) * kDaySeconds + *hour * 3600 + *minute * 60 + *second;
}

}  // namespace

std::string format_amz_date(int64_t unix_seconds) {
  const Date date = date_of(unix_seconds / kDaySeconds);
  const int64_t second = unix_seconds % kDaySeconds;
  const auto two = [](char* out, int64_t value) {
    out[0] = static_cast<char>('0' + value / 10 % 10);
    out[1] = static_cast<char>('0' + value % 10);
  };
  char text[] = "YYYYMMDDThhmmssZ";
  two(text, date.year / 100);
  two(text + 2, date.year);
  two(text + 4, date.month);
  two(text + 6, date.day);
  two(text + 9, second / 3600);
  two(text + 11, second / 60 % 60);
  two(text + 13, second % 60);
  return std::string(text, 16);
}

std::string iso_time(int64_t unix_seconds) {
  std::string text = format_amz_date(unix_seconds);
  for (const size_t at : {size_t{4}, size_t{7}}) text.insert(at, 1, '-');
  for (const size_t at : {size_t{13}, size_t{16}}) text.insert(at, 1, ':');
  return text;
}

std::optional<int64_t> parse_http_date(std::string_view text) {
  // "Fri, 24 May 2013 00:00:00 GMT": fixed columns (RFC 9110 5.6.7, the only form that S3 writes).
  static constexpr std::string_view kMonths = "JanFebMarAprMayJunJulAugSepOctNovDec";
  if (text.size() != 29 || text.substr(3, 2) != ", " || text[7] != ' ' || text[11] != ' ' || text[16] != ' ' ||
      text.substr(25) != " GMT") {
    return std::nullopt;
  }
  const size_t month = kMonths.find(text.substr(8, 3));
  if (month == std::string_view::npos || month % 3 != 0) return std::nullopt;
  return unix_of(digits(text, 12, 4), static_cast<int64_t>(month / 3 + 1), digits(text, 5, 2), text.substr(17, 8));
}

std::optional<int64_t> parse_iso_time(std::string_view text) {
  // "2009-10-12T17:50:30.000Z"; the fraction is left out.
  if (text.size() < 20 || text[4] != '-' || text[7] != '-' || text[10] != 'T' || text.back() != 'Z') {
    return std::nullopt;
  }
  if (text.size() > 20 && (text[19] != '.' || !parse_decimal(text.substr(20, text.size() - 21)))) return std::nullopt;
  return unix_of(digits(text, 0, 4), digits(text, 5, 2), digits(text, 8, 2), text.substr(11, 8));
}

}  // namespace headrace
