// SPDX-License-Identifier: Apache-2.0
#include "loader/proxy.h"

#include <algorithm>
#include <cctype>
#include <string_view>

namespace headrace {
namespace {

std::string_view host_of(std::string_view url) {
  const size_t scheme = url.find("://");
  if (scheme != std::string_view::npos) url.remove_prefix(scheme + 3);
  url = url.substr(0, url.find('/'));
  if (url.starts_with('[')) return url.substr(1, url.find(']') - 1);
  return url.substr(0, url.find(':'));
}

std::string first_of(const Environment& environment, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (const std::string& value = environment.get(name); !value.empty()) return value;
  }
  return "";
}

// curl's rule: "*", or a name that is the host or a domain above it; a leading dot makes no difference.
bool excepted(std::string_view no_proxy, std::string_view host) {
  while (!no_proxy.empty()) {
    const size_t end = std::min(no_proxy.find(','), no_proxy.size());
    std::string_view name = no_proxy.substr(0, end);
    no_proxy.remove_prefix(std::min(end + 1, no_proxy.size()));
    while (!name.empty() && std::isspace(static_cast<unsigned char>(name.front()))) name.remove_prefix(1);
    while (!name.empty() && std::isspace(static_cast<unsigned char>(name.back()))) name.remove_suffix(1);
    if (name == "*") return true;
    if (name.starts_with('.')) name.remove_prefix(1);
    if (name.empty()) continue;
    if (host == name) return true;
    if (host.size() > name.size() && host.ends_with(name) && host[host.size() - name.size() - 1] == '.') return true;
  }
  return false;
}

}  // namespace

bool behind_proxy(const std::string& endpoint_url, const Environment& environment) {
  const bool plain = endpoint_url.starts_with("http://");
  const std::string proxy = plain ? first_of(environment, {"http_proxy", "all_proxy", "ALL_PROXY"})
                                  : first_of(environment, {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"});
  if (proxy.empty()) return false;
  const std::string host(endpoint_url.empty() ? "s3.amazonaws.com" : host_of(endpoint_url));
  return !excepted(first_of(environment, {"no_proxy", "NO_PROXY"}), host);
}

}  // namespace headrace
