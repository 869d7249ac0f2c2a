// SPDX-License-Identifier: Apache-2.0
//
// Which host a bucket's requests go to, and how its name stands in them: AWS's buckets, access points (by ARN) and
// directory buckets (S3 Express), other S3 stores, Google's, plain servers. Pure. Multi-region access points (signed by
// another algorithm), Outposts and object lambdas are kUnsupported.
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
  std::string service = "s3";  // in the signature
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

// ".amazonaws.com", or what stands for it in the partition of the region.
std::string aws_domain(const std::string& region);

// A host of AWS itself, in any partition that headrace knows.
bool is_aws_host(std::string_view host);

// "localhost" or a literal loopback address: a name could be anybody's tomorrow.
bool is_loopback(const std::string& host);

// The path of a URL as the user wrote it, with what cannot stand in a request encoded: '%' stays.
std::string url_path_of(std::string_view path);

// A region name that may become part of a host name: letters, digits and dashes.
bool valid_region(std::string_view region);

}  // namespace headrace
