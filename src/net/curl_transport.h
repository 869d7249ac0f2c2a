// SPDX-License-Identifier: Apache-2.0
//
// HttpTransport over libcurl, for control requests and for what the data path does not do: proxies
// (http_proxy, https_proxy, all_proxy, no_proxy of the environment), CONNECT, happy eyeballs. One
// thread of its own. HTTP/1.1 only; redirects are not followed; a reply is judged by the same
// ReplyReader as on the data path, since libcurl accepts too much, with one exception: bytes beyond
// a Content-Length are dropped by libcurl unseen.
//
// The first-byte clock starts with the request and so includes connecting.
#pragma once

#include <memory>

#include "net/http_transport.h"

namespace headrace {

class CurlTransport final : public HttpTransport {
 public:
  explicit CurlTransport(TransportLimits limits = {}, TlsOptions tls = {});
  ~CurlTransport() override;  // close(); not from its own thread

  void send(HttpRequest request, UniqueFunction<void(HttpOutcome)> done,
            std::stop_token stop) override;
  TimedExecutor& executor() override;
  // Everything under way ends with kCancelled, as does everything sent later. Not from its own
  // thread it waits for that.
  void close();

 private:
  class Core;
  std::shared_ptr<Core> core_;
};

}  // namespace headrace
