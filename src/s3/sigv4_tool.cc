// SPDX-License-Identifier: Apache-2.0
//
// Test tool: reads one request a line as tab-separated fields, prints the
// Authorization header it would be sent with; tests/s3/test_sigv4_botocore.py compares that with botocore's.
//
// Fields: access key id, secret, token, region, unix seconds, method, key, query (encoded), payload hash, host, then
// header name and value pairs. Values are hexadecimal, so that any byte can stand in them.
#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

#include "base/checked.h"
#include "s3/sigv4.h"

namespace {

std::string from_hex(std::string_view text) {
  std::string out;
  for (size_t i = 0; i + 1 < text.size(); i += 2) {
    out += static_cast<char>(std::stoi(std::string(text.substr(i, 2)), nullptr, 16));
  }
  return out;
}

std::vector<std::string> fields_of(const std::string& line) {
  std::vector<std::string> fields;
  for (size_t begin = 0; begin <= line.size();) {
    const size_t end = std::min(line.find('\t', begin), line.size());
    fields.push_back(from_hex(std::string_view(line).substr(begin, end - begin)));
    begin = end + 1;
  }
  return fields;
}

}  // namespace

int main() {
  headrace::SigV4Signer signer;
  for (std::string line; std::getline(std::cin, line);) {
    const auto f = fields_of(line);
    if (f.size() < 10 || f.size() % 2 != 0) {
      std::fprintf(stderr, "sigv4_tool: a line needs 10 fields and pairs, has %zu\n", f.size());
      return 2;
    }
    const headrace::Credentials credentials{f[0], headrace::Secret(f[1]), headrace::Secret(f[2]), std::nullopt, ""};
    headrace::HttpHeaders headers;
    for (size_t i = 10; i < f.size(); i += 2) headers.emplace_back(f[i], f[i + 1]);
    const std::string path = "/" + headrace::uri_encode(f[6], true);
    const std::string query = headrace::canonical_query_of(f[7]);
    signer.sign(credentials, f[3], {f[5], path, query, f[8]}, f[9],
                static_cast<int64_t>(headrace::parse_decimal(f[4]).value_or(0)), &headers);
    std::printf("%s\n", headrace::find_header(headers, "authorization")->c_str());
  }
  return 0;
}
