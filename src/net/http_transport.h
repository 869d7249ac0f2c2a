// SPDX-License-Identifier: Apache-2.0
//
// HttpTransport: one HTTP exchange, asynchronously. Knows HTTP, not S3. Implementations: EpollTransport (data path),
// CurlTransport (control requests, proxies), and in tests a scripted one.
//
// Contract:
//  - `done` runs exactly once, on the transport's executor, also after cancellation; never inside send().
//  - A reply's body goes into `body_into` (in order, each byte once) only when the status is 2xx and `accept` agrees;
//    otherwise, and for replies without body_into, it is collected in HttpReply::text up to `text_bytes_max`.
//  - Redirects are never followed. A malformed reply is kCorrupt with `retry_safe`, never data.
//  - On failure HttpOutcome::body_bytes says how many bytes at the front of body_into are good.
#pragma once

#include <cstdint>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "base/unique_function.h"
#include "sys/clock.h"
#include "sys/executor.h"

namespace headrace {

struct HttpEndpoint {
  bool tls = false;
  std::string host;  // name or address, no brackets
  uint16_t port = 80;

  std::string text() const;         // "https://host:port", the port left out when it is the default
  std::string host_header() const;  // "host" or "host:port"
  friend bool operator==(const HttpEndpoint&, const HttpEndpoint&) = default;
};

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;  // names in lower case

// First value of `name` (lower case), or nullptr.
const std::string* find_header(const HttpHeaders& headers, std::string_view name);

struct HttpReply {
  int status = 0;
  HttpHeaders headers;
  std::string text;         // the body where it did not go into body_into
  uint64_t body_bytes = 0;  // bytes written into body_into
  Nanos first_byte{};       // from the request's first byte sent to the reply's first byte
  Nanos total{};
};

struct HttpRequest {
  HttpEndpoint endpoint;
  std::string method = "GET";
  std::string target = "/";  // path and query, encoded as on the wire
  HttpHeaders headers;       // host is added; secrets stand here and are never logged
  std::string body;          // for PUT and POST
  std::vector<MutableBytes> body_into;  // scatter list; its sizes sum to the only acceptable 2xx body length
  // For a 2xx reply to a request with body_into: looks at status and headers before the body is received; not ok = the
  // reply is refused with that Status and the connection dropped. May be empty; a reply that was accepted comes to
  // `done` without its headers.
  UniqueFunction<Status(const HttpReply&)> accept;
  // Told of each run of body bytes at its place in body_into, in order, while it is in the cache. May be empty.
  UniqueFunction<void(uint64_t offset, Bytes)> placed;
  uint64_t text_bytes_max = 16 << 20;
  Nanos first_byte_timeout{std::chrono::seconds(30)};
  Deadline deadline;
};

struct HttpOutcome {
  Status status;  // ok = a complete, well-formed reply, whatever its HTTP status
  HttpReply reply;
  uint64_t body_bytes = 0;  // good bytes at the front of body_into, also when status is not ok
  bool sent = false;        // some of the request may have reached the server
};

class HttpTransport {
 public:
  virtual ~HttpTransport() = default;
  virtual void send(HttpRequest request, UniqueFunction<void(HttpOutcome)> done, std::stop_token stop) = 0;
  // Where completions run. A retry or a timer that belongs to a request is posted here.
  virtual TimedExecutor& executor() = 0;
};

struct TransportLimits {
  uint32_t connections_max = 1024;        // a loop
  uint32_t connections_idle_max = 1024;   // kept for reuse
  Nanos idle_max{std::chrono::seconds(4)};  // S3 closes idle connections after about 5 s
  Nanos connect_timeout{std::chrono::seconds(3)};
  Nanos stall_timeout{std::chrono::seconds(5)};  // no byte in a body
  uint64_t header_bytes_max = 32 << 10;
};

// What TLS trusts. Empty paths = the system's: SSL_CERT_FILE, AWS_CA_BUNDLE, the distributions' bundles (net/tls.cc).
struct TlsOptions {
  std::string ca_file;
  bool verify = true;
};

}  // namespace headrace
