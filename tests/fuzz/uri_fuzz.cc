// SPDX-License-Identifier: Apache-2.0
//
// Any bytes as the URL of a data set, as an endpoint and as a path: what is accepted names a host that can stand in a
// request (no control character, no blank), and secrets of a query or a user part are in no error.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "loader/data_url.h"
#include "s3/endpoint.h"

using namespace headrace;

namespace {

void check_host(const std::string& host) {
  for (const char c : host) {
    const auto byte = static_cast<unsigned char>(c);
    HR_ASSERT(byte > ' ' && byte != 0x7f && c != '/' && c != '@' && c != '?' && c != '#');
  }
}

void check_request_path(const std::string& path) {
  for (const char c : path) {
    const auto byte = static_cast<unsigned char>(c);
    HR_ASSERT(byte > ' ' && byte < 0x7f);
  }
}

void check_data_url(std::string_view text) {
  const auto url = parse_data_url(text);
  if (!url.ok()) {
    const Code code = url.status().code();
    HR_ASSERT(code == Code::kInvalidArgument || code == Code::kUnsupported);
    return;
  }
  HR_ASSERT(!url->scheme.empty());
  HR_ASSERT(url->scheme == "file" || !url->bucket.empty());
  HR_ASSERT(common_folder({url->key}).size() <= url->key.size());
  if (!url->is_plain()) return;
  check_request_path(url_path_of(url->key));
  S3Options options;
  options.dialect = S3Dialect::kPlain;
  options.bucket = url->bucket;
  options.endpoint_url = url->store_text();
  if (const auto route = resolve_route(options); route.ok()) check_host(route->endpoint.host);
}

void check_endpoint(std::string_view text) {
  const auto endpoint = parse_endpoint_url(text);
  if (!endpoint.ok()) {
    HR_ASSERT(endpoint.status().code() == Code::kInvalidArgument);
    return;
  }
  check_host(endpoint->endpoint.host);
  HR_ASSERT(!endpoint->base_path.ends_with('/'));
}

// Nothing that follows '?' or stands before '@' may be told: it may be a signature or a password.
void check_secrets_stay(std::string_view text) {
  const std::string inside(text.substr(0, 100));
  if (inside.find("canary") != std::string::npos) return;
  for (const std::string& url : {"https://h/" + inside + "?X-Amz-Signature=canary", "https://canary@h/" + inside}) {
    const auto parsed = parse_data_url(url);
    if (!parsed.ok()) HR_ASSERT(parsed.status().message().find("canary") == std::string::npos);
    if (parsed.ok()) HR_ASSERT(parsed->text().find("canary") == std::string::npos);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::vector<char> bytes(data, data + size);  // of exact length, so that ASan sees a read past the end
  const std::string_view text(bytes.data(), bytes.size());
  check_data_url(text);
  check_endpoint(text);
  check_data_url("https://" + std::string(text));
  check_endpoint("https://" + std::string(text));
  check_secrets_stay(text);
  return 0;
}
