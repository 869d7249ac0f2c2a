// SPDX-License-Identifier: Apache-2.0
//
// Writing an HTTP/1.1 request head as bytes. Parsing is net/http_parser.h.
#pragma once

#include <string>

#include "net/http_transport.h"

namespace headrace {

// Appends request line, host, the request's headers and, where there is a body or the method
// implies one, content-length. kInvalidArgument when a part holds a byte that would break out of
// its place (CR, LF, NUL, blank in the target); the message names the part, never its value, since
// a header may be a secret.
Status append_request_head(std::string& out, const HttpRequest& request);

}  // namespace headrace
