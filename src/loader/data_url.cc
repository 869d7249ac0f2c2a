// SPDX-License-Identifier: Apache-2.0
#include "loader/data_url.h"

#include <algorithm>
#include <filesystem>

namespace headrace {
namespace {

// For messages: without what may be a password or a signature.
std::string shown(std::string_view url) {
  const size_t host = url.find("://") + 3;
  const size_t user = url.substr(0, url.find_first_of("/?#", host)).rfind('@');
  const std::string_view rest = url.substr(user == std::string_view::npos || user < host ? host : user + 1);
  return std::string(url.substr(0, host)) + std::string(rest.substr(0, rest.find_first_of("?#")));
}

// A query may be a signature and a user a password: neither is taken, and neither is shown.
Result<DataUrl> plain_url(DataUrl out, std::string_view rest) {
  const size_t slash = rest.find('/');
  const std::string_view host = rest.substr(0, slash);
  if (host.find('@') != std::string_view::npos || rest.find_first_of("?#") != std::string_view::npos) {
    return invalid_argument("open " + out.scheme + "://...: a user, a query (as of a presigned URL) or a fragment in "
                            "the URL is not supported; use the plain URL of the file");
  }
  out.bucket = std::string(host);
  if (slash != std::string_view::npos) out.key = std::string(rest.substr(slash + 1));
  if (host.empty() || out.key.empty()) {
    return invalid_argument("open " + out.text() + ": write https://host/path/to/shard.tar");
  }
  return out;
}

}  // namespace

std::string DataUrl::store_text() const { return scheme + "://" + bucket; }

std::string DataUrl::text() const { return store_text() + "/" + key; }

Result<DataUrl> parse_data_url(std::string_view url) {
  DataUrl out;
  const size_t colon = url.find("://");
  if (colon == std::string_view::npos) {
    if (url.empty()) return invalid_argument("open \"\": the URL is empty");
    std::error_code error;
    std::string path = std::filesystem::absolute(std::filesystem::path(url), error).lexically_normal().string();
    if (error) return invalid_argument("open " + shown(url) + ": " + error.message());
    if (url.back() == '/' && path.back() != '/') path += '/';
    out.scheme = "file";
    out.key = path.substr(1);
    return out;
  }
  out.scheme = std::string(url.substr(0, colon));
  std::string_view rest = url.substr(colon + 3);
  if (out.scheme == "file") {
    if (rest.empty() || rest[0] != '/') {
      return invalid_argument("open " + shown(url) +
                              ": a file URL needs an absolute path, as in file:///data/train");
    }
    out.key = std::string(rest.substr(1));
    return out;
  }
  if (out.is_plain()) return plain_url(std::move(out), rest);
  if (out.scheme != "s3" && out.scheme != "gs") {
    return unsupported("open " + shown(url) + ": scheme \"" + out.scheme +
                       "\" is not supported; use s3://bucket/key, gs://bucket/key, https://host/path, file:///path or "
                       "a path");
  }
  size_t slash = rest.find('/');
  const bool arn = out.scheme == "s3" && rest.starts_with("arn:");
  if (arn && rest.substr(0, slash).ends_with(":accesspoint")) slash = rest.find('/', slash + 1);
  out.bucket = std::string(rest.substr(0, slash));
  if (slash != std::string_view::npos) out.key = std::string(rest.substr(slash + 1));
  const bool bad_bucket = !arn && (out.bucket.empty() || std::ranges::any_of(out.bucket, [](char c) {
    return !(c == '-' || c == '.' || c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
             (c >= 'A' && c <= 'Z'));
  }));
  if (bad_bucket) {
    return invalid_argument("open " + shown(url) + ": \"" + out.bucket +
                            "\" is not a bucket name; write " + out.scheme + "://bucket/key");
  }
  return out;
}

Result<std::vector<DataUrl>> parse_data_urls(const std::vector<std::string>& texts) {
  if (texts.empty()) return invalid_argument("open: no URL given");
  std::vector<DataUrl> urls;
  urls.reserve(texts.size());
  for (const std::string& text : texts) {
    HR_TRY_ASSIGN(DataUrl url, parse_data_url(text));
    if (!urls.empty() && url.store_text() != urls[0].store_text()) {
      return invalid_argument("open " + text + ": all shards of a data set lie in one bucket, the first is in " +
                              urls[0].store_text());
    }
    urls.push_back(std::move(url));
  }
  return urls;
}

std::string common_folder(const std::vector<std::string>& keys) {
  if (keys.empty()) return "";
  std::string folder = keys.front();
  for (const std::string& key : keys) {
    size_t same = 0;
    while (same < folder.size() && same < key.size() && folder[same] == key[same]) ++same;
    folder.resize(same);
  }
  const size_t slash = folder.find_last_of('/');
  return slash == std::string::npos ? "" : folder.substr(0, slash + 1);
}

}  // namespace headrace
