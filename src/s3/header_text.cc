// SPDX-License-Identifier: Apache-2.0
#include "s3/header_text.h"

#include "base/checked.h"

namespace headrace {

std::string bare_etag(std::string_view text) {
  if (text.starts_with("W/")) text.remove_prefix(2);
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"') text = text.substr(1, text.size() - 2);
  return std::string(text);
}

std::optional<ContentRange> parse_content_range(std::string_view text) {
  if (!text.starts_with("bytes ")) return std::nullopt;
  text.remove_prefix(6);
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const std::string_view range = text.substr(0, slash), total = text.substr(slash + 1);
  ContentRange parsed;
  if (total != "*") {
    parsed.total = parse_decimal(total);
    if (!parsed.total) return std::nullopt;
  }
  if (range == "*") return parsed;
  const size_t dash = range.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const auto first = parse_decimal(range.substr(0, dash)), last = parse_decimal(range.substr(dash + 1));
  if (!first || !last || *last < *first || *last == UINT64_MAX) return std::nullopt;
  if (parsed.total && *last >= *parsed.total) return std::nullopt;
  parsed.range = ByteRange{*first, *last + 1};
  return parsed;
}

std::string range_header(ByteRange range) {
  std::string text = "bytes=";
  text += std::to_string(range.begin);
  text += '-';
  text += std::to_string(range.end - 1);
  return text;
}

std::string validator_of(const HttpHeaders& headers, bool plain_server) {
  const std::string* etag = find_header(headers, "etag");
  if (!plain_server) return etag != nullptr ? bare_etag(*etag) : "";
  if (etag != nullptr && !etag->empty()) return (etag->starts_with("W/") ? "W/" : "") + bare_etag(*etag);
  const std::string* modified = find_header(headers, "last-modified");
  return modified != nullptr ? "date:" + *modified : "";
}

bool is_strong(std::string_view validator) { return !validator.starts_with("W/") && !validator.starts_with("date:"); }

}  // namespace headrace
