// SPDX-License-Identifier: Apache-2.0
//
// What to add to "cannot connect" where libcurl goes through a proxy of the environment.
#pragma once

#include <cstdlib>
#include <string>

namespace headrace {

// Behind a proxy it is the proxy that was connected to: libcurl's own text names only its port.
inline std::string proxy_hint(bool tls) {
  for (const char* name :
       {tls ? "https_proxy" : "http_proxy", tls ? "HTTPS_PROXY" : "", "all_proxy", "ALL_PROXY"}) {
    const char* value = std::getenv(name);
    if (value != nullptr && *value != 0)
      return " (" + std::string(name) + " is set: is that proxy running?)";
  }
  return {};
}

}  // namespace headrace
