// SPDX-License-Identifier: Apache-2.0
#include "s3/endpoint.h"

#include <algorithm>

#include "base/checked.h"
#include "net/resolver.h"
#include "s3/sigv4.h"

namespace headrace {
namespace {

constexpr std::string_view kDefaultRegion = "us-east-1";
constexpr std::string_view kGoogleHost = "storage.googleapis.com";

bool alphanumeric(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

// AWS's rules are narrower (3-63 lower-case letters, digits, dots, dashes); other stores allow more. What must never
// pass is what changes the meaning of a host or a path.
Status check_bucket(const std::string& bucket) {
  const auto refuse = [&bucket](const char* why) { return invalid_argument("s3 bucket \"" + bucket + "\": " + why); };
  if (bucket.empty()) return invalid_argument("s3 bucket: the name is empty; say s3://bucket/key");
  if (bucket.size() > 255) return refuse("the name is longer than 255 bytes");
  for (char c : bucket) {
    if (!alphanumeric(c) && c != '-' && c != '.' && c != '_') return refuse("a name has letters, digits, - . _ only");
  }
  if (bucket == "." || bucket == "..") return refuse("not a name");
  return {};
}

bool dns_name(const std::string& bucket) {
  return bucket.size() >= 3 && bucket.size() <= 63 && alphanumeric(bucket.front()) && alphanumeric(bucket.back()) &&
         bucket.find("..") == std::string::npos &&
         std::all_of(bucket.begin(), bucket.end(), [](char c) { return c != '_' && !(c >= 'A' && c <= 'Z'); });
}

bool wants_virtual_host(const S3Options& options, bool aws, bool tls) {
  if (options.addressing == S3Addressing::kPath || !dns_name(options.bucket)) return false;
  // A certificate for *.s3.region.amazonaws.com does not cover a name with dots.
  if (tls && options.bucket.find('.') != std::string::npos) return false;
  return aws || options.addressing == S3Addressing::kVirtual;
}

std::string aws_host(const S3Options& options, const std::string& region) {
  std::string host = options.fips ? "s3-fips." : "s3.";
  if (options.dual_stack) host += "dualstack.";
  return host + region + aws_domain(region);
}

// "s3.eu-west-1.amazonaws.com" says its region; "" for any other host.
std::string region_of_host(const std::string& host) {
  if (!is_aws_host(host) || host.rfind("s3.", 0) != 0) return {};
  std::string region = host.substr(3, host.find(".amazonaws.com") - 3);
  if (region.rfind("dualstack.", 0) == 0) region.erase(0, 10);
  return region.find('.') == std::string::npos ? region : std::string();
}

Result<uint16_t> parse_port(std::string_view text, std::string_view url) {
  const auto port = parse_decimal(text);
  if (!port || *port == 0 || *port > 65535) {
    return invalid_argument("endpoint_url " + std::string(url) + ": the port must be 1 to 65535");
  }
  return static_cast<uint16_t>(*port);
}

Status check_region(const std::string& region) {
  if (valid_region(region)) return {};
  return invalid_argument("s3 region \"" + region.substr(0, 60) + "\": letters, digits and dashes only");
}

Result<S3Route> plain_route(const S3Options& options) {
  const bool tls = !options.endpoint_url.starts_with("http://");
  HR_TRY_ASSIGN(EndpointUrl parsed, parse_endpoint_url((tls ? "https://" : "http://") + options.bucket));
  S3Route route;
  route.endpoint = std::move(parsed.endpoint);
  route.host_header = route.endpoint.host_header();
  return route;
}

// bucket.s3express-usw2-az1.us-west-2.amazonaws.com. The zone's name does not say its region for certain.
Result<S3Route> express_route(const S3Options& options) {
  const auto refuse = [&](const char* why) {
    return invalid_argument("s3 bucket \"" + options.bucket + "\" (S3 Express): " + why);
  };
  const std::string name = options.bucket.substr(0, options.bucket.size() - 6);
  const size_t dashes = name.rfind("--");
  if (dashes == std::string::npos || dashes == 0) return refuse("the name has no zone, as in name--usw2-az1--x-s3");
  const std::string zone = name.substr(dashes + 2);
  if (!valid_region(zone)) return refuse("the zone in the name is not one");
  if (options.region.empty()) return refuse("give the region of its zone: region= or AWS_REGION");
  HR_TRY(check_region(options.region));
  if (options.dual_stack) {
    return unsupported("s3 bucket \"" + options.bucket + "\" (S3 Express): it has no dual-stack endpoint");
  }
  S3Route route;
  route.region = options.region;
  route.service = "s3express";
  route.endpoint = {true, options.bucket + (options.fips ? ".s3express-fips-" : ".s3express-") + zone + "." +
                              options.region + aws_domain(options.region), 443};
  route.host_header = route.endpoint.host_header();
  return route;
}

// arn:aws:s3:us-west-2:123456789012:accesspoint/name (or accesspoint:name).
Result<S3Route> access_point_route(const S3Options& options) {
  const std::string shown = options.bucket.substr(0, 200);
  std::vector<std::string> parts;
  for (size_t at = 0; parts.size() < 5;) {
    const size_t colon = options.bucket.find(':', at);
    if (colon == std::string::npos) break;
    parts.push_back(options.bucket.substr(at, colon - at));
    at = colon + 1;
    if (parts.size() == 5) parts.push_back(options.bucket.substr(at));
  }
  const auto refuse = [&](const char* why) { return invalid_argument("s3 bucket \"" + shown + "\": " + why); };
  if (parts.size() != 6) return refuse("not an ARN like arn:aws:s3:us-west-2:123456789012:accesspoint/name");
  const std::string &service = parts[2], &region = parts[3], &account = parts[4], &resource = parts[5];
  if (service != "s3" || !resource.starts_with("accesspoint")) {
    return unsupported("s3 bucket \"" + shown + "\": only S3 access points are read by ARN (not Outposts or object "
                       "lambdas); use the bucket's name");
  }
  if (region.empty()) {
    return unsupported("s3 bucket \"" + shown + "\": a multi-region access point needs SigV4A, which headrace does not "
                       "speak; use the bucket's name");
  }
  const std::string name = resource.size() > 12 ? resource.substr(12) : "";
  HR_TRY(check_region(region));
  const bool digits = std::all_of(account.begin(), account.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (account.size() != 12 || !digits || !valid_region(name)) return refuse("the account or the name in it is wrong");
  S3Route route;
  route.region = region;
  route.endpoint = {true, name + "-" + account + (options.fips ? ".s3-accesspoint-fips." : ".s3-accesspoint.") +
                              (options.dual_stack ? "dualstack." : "") + region + aws_domain(region), 443};
  if (!options.endpoint_url.empty()) {
    HR_TRY_ASSIGN(EndpointUrl base, parse_endpoint_url(options.endpoint_url));
    route.endpoint = std::move(base.endpoint);
    route.endpoint.host = name + "-" + account + "." + route.endpoint.host;
    route.path_prefix = std::move(base.base_path);
  }
  route.host_header = route.endpoint.host_header();
  return route;
}

}  // namespace

std::string aws_domain(const std::string& region) {
  return region.starts_with("cn-") ? ".amazonaws.com.cn" : ".amazonaws.com";
}

bool is_aws_host(std::string_view host) {
  return host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn");
}

bool valid_region(std::string_view region) {
  return !region.empty() && region.size() <= 40 && region.front() != '-' && region.back() != '-' &&
         std::all_of(region.begin(), region.end(), [](char c) { return alphanumeric(c) || c == '-'; });
}

Result<EndpointUrl> parse_endpoint_url(std::string_view url) {
  const std::string shown(url.substr(0, 200));
  const auto refuse = [&](const char* why) {
    return invalid_argument("endpoint_url " + shown + ": " + why + "; it looks like https://host:9000");
  };
  EndpointUrl parsed;
  std::string_view rest = url;
  if (rest.starts_with("https://")) {
    parsed.endpoint.tls = true;
    rest.remove_prefix(8);
  } else if (rest.starts_with("http://")) {
    rest.remove_prefix(7);
  } else {
    return refuse("must begin with http:// or https://");
  }
  parsed.endpoint.port = parsed.endpoint.tls ? 443 : 80;
  const size_t slash = std::min(rest.find_first_of("/?#"), rest.size());
  std::string_view authority = rest.substr(0, slash);
  std::string_view path = rest.substr(slash);
  // Never shown: it may hold a password.
  if (authority.find('@') != std::string_view::npos) {
    return invalid_argument("endpoint_url: holds a user name or password; give credentials as credentials");
  }
  if (path.find_first_of("?#") != std::string_view::npos) return refuse("has a query or fragment");
  while (path.ends_with('/')) path.remove_suffix(1);
  parsed.base_path = uri_encode(path, true);
  if (authority.starts_with('[')) {  // IPv6 address
    const size_t close = authority.find(']');
    if (close == std::string_view::npos) return refuse("an IPv6 address without its ]");
    parsed.endpoint.host = std::string(authority.substr(1, close - 1));
    authority.remove_prefix(close + 1);
    if (!authority.empty() && authority.front() != ':') return refuse("text behind the IPv6 address");
    if (!authority.empty()) {
      HR_TRY_ASSIGN(parsed.endpoint.port, parse_port(authority.substr(1), shown));
    }
    if (parsed.endpoint.host.find_first_not_of("0123456789abcdefABCDEF:.%") != std::string::npos) {
      return refuse("not an IPv6 address");
    }
  } else {
    const size_t colon = authority.find(':');
    parsed.endpoint.host = std::string(authority.substr(0, colon));
    if (colon != std::string_view::npos) {
      HR_TRY_ASSIGN(parsed.endpoint.port, parse_port(authority.substr(colon + 1), shown));
    }
    for (char c : parsed.endpoint.host) {
      if (!alphanumeric(c) && c != '.' && c != '-' && c != '_') return refuse("the host has an odd character");
    }
  }
  if (parsed.endpoint.host.empty()) return refuse("has no host");
  return parsed;
}

bool is_loopback(const std::string& host) {
  if (host == "localhost") return true;
  const auto address = SocketAddress::parse(host, 80);
  if (!address) return false;
  const std::string text = address->text();
  return text.starts_with("127.") || text.starts_with("[::1]");
}

std::string url_path_of(std::string_view path) {
  static constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string text;
  for (const char c : path) {
    if (alphanumeric(c) || std::string_view("-._~!$&'()*+,;=:@/%").find(c) != std::string_view::npos) {
      text += c;
    } else {
      text += {'%', kHex[static_cast<unsigned char>(c) >> 4], kHex[static_cast<unsigned char>(c) & 15]};
    }
  }
  return text;
}

Result<S3Route> resolve_route(const S3Options& options, const std::string& region) {
  if (options.dialect == S3Dialect::kPlain) return plain_route(options);
  if (options.bucket.starts_with("arn:")) return access_point_route(options);
  HR_TRY(check_bucket(options.bucket));
  if (is_express(options)) return express_route(options);
  S3Route route;
  route.region = !region.empty() ? region : options.region;
  EndpointUrl base;
  const bool google = options.dialect == S3Dialect::kGcs;
  if (google && route.region.empty()) route.region = "auto";
  if (google && options.endpoint_url.empty()) base.endpoint = {true, std::string(kGoogleHost), 443};
  if (!options.endpoint_url.empty()) {
    HR_TRY_ASSIGN(base, parse_endpoint_url(options.endpoint_url));
    if (route.region.empty()) route.region = region_of_host(base.endpoint.host);
  }
  if (route.region.empty()) route.region = kDefaultRegion;
  HR_TRY(check_region(route.region));
  if (base.endpoint.host.empty()) {
    base.endpoint = {true, aws_host(options, route.region), 443};
    route.region_in_host = true;
  }
  route.endpoint = base.endpoint;
  if (wants_virtual_host(options, is_aws_host(base.endpoint.host), base.endpoint.tls)) {
    route.endpoint.host = options.bucket + "." + route.endpoint.host;
    route.path_prefix = base.base_path;
  } else {
    route.path_prefix = base.base_path + "/" + options.bucket;
  }
  route.host_header = route.endpoint.host_header();
  return route;
}

}  // namespace headrace
