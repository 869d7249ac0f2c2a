// SPDX-License-Identifier: Apache-2.0
#include "net/http_message.h"

#include <charconv>

#include "net/http_parser.h"

namespace headrace {
namespace {

void append_host(std::string& out, const HttpEndpoint& endpoint) {
  const bool ipv6 = endpoint.host.find(':') != std::string::npos;
  if (ipv6) out += '[';
  out += endpoint.host;
  if (ipv6) out += ']';
  if (endpoint.port != (endpoint.tls ? 443 : 80)) {
    char digits[8];
    const auto end = std::to_chars(digits, digits + sizeof digits, endpoint.port).ptr;
    out += ':';
    out.append(digits, end);
  }
}

}  // namespace

std::string HttpEndpoint::host_header() const {
  std::string text;
  append_host(text, *this);
  return text;
}

std::string HttpEndpoint::text() const {
  std::string text = tls ? "https://" : "http://";
  append_host(text, *this);
  return text;
}

const std::string* find_header(const HttpHeaders& headers, std::string_view name) {
  for (const auto& [key, value] : headers) {
    if (key == name) return &value;
  }
  return nullptr;
}

Status append_request_head(std::string& out, const HttpRequest& request) {
  if (!is_http_token(request.method))
    return invalid_argument("write an HTTP request: the method is not a token");
  if (!is_http_target(request.target)) {
    return invalid_argument(
        "write an HTTP request: the target holds a blank or control byte; encode it");
  }
  if (request.endpoint.host.empty() || !is_http_target(request.endpoint.host)) {
    return invalid_argument(
        "write an HTTP request: the endpoint's host is empty or holds a blank or control byte");
  }
  out.append(request.method).append(" ").append(request.target).append(" HTTP/1.1\r\nhost: ");
  append_host(out, request.endpoint);
  for (const auto& [name, value] : request.headers) {
    if (!is_http_token(name))
      return invalid_argument("write an HTTP request: a header name is not a token");
    if (!is_http_field_value(value)) {
      return invalid_argument("write an HTTP request: the value of header '" + name +
                              "' holds a control byte");
    }
    if (name == "content-length" || name == "transfer-encoding" || name == "host") {
      return invalid_argument("write an HTTP request: header '" + name +
                              "' is the transport's to write");
    }
    out.append("\r\n").append(name).append(": ").append(value);
  }
  if (!request.body.empty() || request.method == "PUT" || request.method == "POST") {
    out.append("\r\ncontent-length: ").append(std::to_string(request.body.size()));
  }
  out.append("\r\n\r\n");
  return {};
}

}  // namespace headrace
