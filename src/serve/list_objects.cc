// SPDX-License-Identifier: Apache-2.0
#include "serve/list_objects.h"

#include "base/checked.h"

namespace headrace::serve {
namespace {

constexpr uint64_t kKeysMax = 1000;  // S3's page

struct ListOptions {
  std::string prefix, delimiter, start_after, continuation;
  uint64_t keys_max = kKeysMax;
  bool url_encoded = false;
  bool fetch_owner = false;
};

// A token is hex of one letter and a key: 'k' = go on after that key, 'p' = after everything below
// that prefix.
std::string make_token(char kind, const std::string& key) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string token;
  std::string text(1, kind);
  text += key;
  for (char c : text) {
    token += kDigits[static_cast<uint8_t>(c) >> 4];
    token += kDigits[static_cast<uint8_t>(c) & 15];
  }
  return token;
}

std::optional<std::string> read_token(const std::string& token) {
  if (token.size() < 2 || token.size() % 2 != 0 || token.size() > 4096) return std::nullopt;
  std::string escaped;
  for (size_t i = 0; i < token.size(); i += 2) escaped += "%" + token.substr(i, 2);
  auto text = percent_decoded(escaped, false);
  if (!text || ((*text)[0] != 'k' && (*text)[0] != 'p')) return std::nullopt;
  return text;
}

S3Error read_options(const QueryPairs& query, ListOptions& options) {
  const auto text = [&](std::string_view name, std::string& into) {
    if (const std::string* value = find_pair(query, name)) into = *value;
  };
  text("prefix", options.prefix);
  text("delimiter", options.delimiter);
  text("start-after", options.start_after);
  text("continuation-token", options.continuation);
  if (const std::string* count = find_pair(query, "max-keys")) {
    const auto parsed = parse_decimal(*count);
    if (!parsed || *parsed > INT32_MAX) {
      return s3_errors::invalid_argument(
          "Provided max-keys not an integer or within integer range");
    }
    options.keys_max = std::min(*parsed, kKeysMax);
  }
  if (const std::string* encoding = find_pair(query, "encoding-type")) {
    if (*encoding != "url")
      return s3_errors::invalid_argument("Invalid Encoding Method specified in Request");
    options.url_encoded = true;
  }
  if (const std::string* owner = find_pair(query, "fetch-owner"))
    options.fetch_owner = *owner == "true";
  if (find_pair(query, "continuation-token") != nullptr && !read_token(options.continuation)) {
    return s3_errors::invalid_argument("The continuation token provided is incorrect");
  }
  return {};
}

void add_text(std::string& xml, std::string_view tag, std::string_view value) {
  xml += '<', xml += tag, xml += '>';
  append_xml_escaped(xml, value);
  xml += "</", xml += tag, xml += '>';
}

void add_name(std::string& xml, std::string_view tag, const std::string& value, bool url_encoded) {
  if (!url_encoded) return add_text(xml, tag, value);
  std::string encoded;
  append_percent_encoded(encoded, value, true);
  add_text(xml, tag, encoded);
}

struct Page {
  std::string contents;
  std::string prefixes;
  uint64_t keys = 0;
  std::string next_token;
};

void add_object(Page& page, const ObjectInfo& info, const ListOptions& options) {
  std::string& xml = page.contents;
  xml += "<Contents>";
  add_name(xml, "Key", info.key, options.url_encoded);
  add_text(xml, "LastModified", iso_date(info.modified_unix));
  xml += "<ETag>&quot;" + info.etag + "&quot;</ETag>";
  xml += "<Size>" + std::to_string(info.size) + "</Size>";
  if (options.fetch_owner)
    xml += "<Owner><ID>headrace</ID><DisplayName>headrace</DisplayName></Owner>";
  xml += "<StorageClass>STANDARD</StorageClass></Contents>";
}

void add_prefix(Page& page, const std::string& prefix, const ListOptions& options) {
  page.prefixes += "<CommonPrefixes>";
  add_name(page.prefixes, "Prefix", prefix, options.url_encoded);
  page.prefixes += "</CommonPrefixes>";
}

// Where the listing begins: the first key that may be shown is >= the result.
std::string first_bound(const ListOptions& options) {
  if (!options.continuation.empty()) {
    const auto token = read_token(options.continuation);
    const std::string key(*token, 1);
    return token->starts_with('k') ? key + '\0' : after_prefix(key);
  }
  if (!options.start_after.empty()) return options.start_after + '\0';
  return {};
}

Result<Page> read_page(KeyWalk& walk, const ListOptions& options) {
  Page page;
  std::string bound = first_bound(options);
  std::string last_token;
  if (options.keys_max == 0) return page;
  for (;;) {
    HR_TRY_ASSIGN(const std::optional<ObjectInfo> info, walk.next(bound, options.prefix));
    if (!info) return page;
    if (page.keys == options.keys_max) {
      page.next_token = last_token;
      return page;
    }
    ++page.keys;
    const size_t cut = options.delimiter.empty()
                           ? std::string::npos
                           : info->key.find(options.delimiter, options.prefix.size());
    if (cut == std::string::npos) {
      add_object(page, *info, options);
      last_token = make_token('k', info->key);
      bound = info->key + '\0';
      continue;
    }
    const std::string group = info->key.substr(0, cut + options.delimiter.size());
    // S3 shows a group again when start-after lies inside it only if the group itself is greater
    // than start-after.
    if (options.continuation.empty() && group <= options.start_after)
      --page.keys;
    else
      add_prefix(page, group, options);
    last_token = make_token('p', group);
    bound = after_prefix(group);
    if (bound.empty()) return page;
  }
}

}  // namespace

std::string after_prefix(std::string prefix) {
  while (!prefix.empty() && static_cast<uint8_t>(prefix.back()) == 0xFF) prefix.pop_back();
  if (!prefix.empty()) prefix.back() = static_cast<char>(static_cast<uint8_t>(prefix.back()) + 1);
  return prefix;
}

S3Error list_objects_v2(KeyWalk& walk, const std::string& bucket, const QueryPairs& query,
                        std::string& xml) {
  ListOptions options;
  if (S3Error error = read_options(query, options); !error.ok()) return error;
  const Result<Page> page = read_page(walk, options);
  if (!page.ok()) return s3_errors::internal_error(page.status().message());
  xml =
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">";
  add_text(xml, "Name", bucket);
  add_name(xml, "Prefix", options.prefix, options.url_encoded);
  if (!options.delimiter.empty())
    add_name(xml, "Delimiter", options.delimiter, options.url_encoded);
  if (!options.start_after.empty())
    add_name(xml, "StartAfter", options.start_after, options.url_encoded);
  if (!options.continuation.empty()) add_text(xml, "ContinuationToken", options.continuation);
  if (!page->next_token.empty()) add_text(xml, "NextContinuationToken", page->next_token);
  xml += "<KeyCount>" + std::to_string(page->keys) + "</KeyCount>";
  xml += "<MaxKeys>" + std::to_string(options.keys_max) + "</MaxKeys>";
  if (options.url_encoded) xml += "<EncodingType>url</EncodingType>";
  xml += page->next_token.empty() ? "<IsTruncated>false</IsTruncated>"
                                  : "<IsTruncated>true</IsTruncated>";
  xml += page->contents + page->prefixes + "</ListBucketResult>";
  return {};
}

}  // namespace headrace::serve
