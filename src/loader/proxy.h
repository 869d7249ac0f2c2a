// SPDX-License-Identifier: Apache-2.0
//
// Does the environment send this endpoint through a proxy? (https_proxy, http_proxy, all_proxy, no_proxy, in either
// case.) The data path does not speak to proxies, so such a store is read through net/curl_transport.
#pragma once

#include <string>

#include "s3/aws_config.h"

namespace headrace {

// `endpoint_url`: "https://host:port"; empty = AWS over https.
bool behind_proxy(const std::string& endpoint_url, const Environment& environment);

}  // namespace headrace
