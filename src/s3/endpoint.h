// SPDX-License-Identifier: Apache-2.0
//
// Which host a bucket's requests go to, and how its name stands in them. Pure. Does not know ARNs, access points or
// directory buckets (kUnsupported says so).
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "net/http_transport.h"
#include "s3/s3_options.h"

namespace headrace {

// Immutable; a store makes a new one when AWS tells it the bucket's real region.
struct S3Route {
  HttpEndpoint endpoint;
  std::string host_header;
  std::string path_prefix;   // encoded; "" (virtual-host style), "/bucket" or "/base/bucket"
  std::string region;
  bool region_in_host = false;  // AWS's regional name: another region is another host
};

// `region` overrides options.region when it is not empty.
Result<S3Route> resolve_route(const S3Options& options, const std::string& region = {});

// Scheme, host and port of "https://host:port/base"; the base path without trailing slash.
struct EndpointUrl {
  HttpEndpoint endpoint;
  std::string base_path;
};
Result<EndpointUrl> parse_endpoint_url(std::string_view url);

// A region name that may become part of a host name: letters, digits and dashes.
bool valid_region(std::string_view region);

}  // namespace headrace
