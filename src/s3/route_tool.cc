// SPDX-License-Identifier: Apache-2.0
//
// Test tool: reads one place a line as tab-separated fields (bucket, region, endpoint_url, addressing style, "1" for
// dual-stack, "1" for FIPS), prints the URL of the key "k", the region and the service that sign it, or "error" and the
// code; tests/s3/test_routes_botocore.py compares that with botocore's.
#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

#include "s3/endpoint.h"

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    std::vector<std::string> f;
    for (size_t begin = 0; begin <= line.size();) {
      const size_t end = std::min(line.find('\t', begin), line.size());
      f.push_back(line.substr(begin, end - begin));
      begin = end + 1;
    }
    f.resize(6);
    headrace::S3Options options;
    options.bucket = f[0];
    options.region = f[1];
    options.endpoint_url = f[2];
    options.addressing = headrace::addressing_of(f[3], "route_tool").value();
    options.dual_stack = f[4] == "1";
    options.fips = f[5] == "1";
    const auto route = headrace::resolve_route(options);
    if (!route.ok()) {
      std::printf("error\t%s\n", std::string(headrace::code_name(route.status().code())).c_str());
    } else {
      std::printf("%s%s/k\t%s\t%s\n", route->endpoint.text().c_str(), route->path_prefix.c_str(),
                  route->region.c_str(), route->service.c_str());
    }
  }
  return 0;
}
