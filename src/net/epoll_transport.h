// SPDX-License-Identifier: Apache-2.0
//
// HttpTransport for the data path: HTTP/1.1 over keep-alive connections on one EventLoop, bodies
// received straight into their destination. One transport a loop; several loops have several
// transports, which share nothing but the resolver.
//
// Admission: at most limits.connections_max connections; requests beyond that wait in one FIFO
// queue. An idle connection is reused last in, first out; a reused connection that turns out dead
// costs no visible attempt (GET, HEAD).
#pragma once

#include <memory>

#include "net/event_loop.h"
#include "net/http_transport.h"
#include "net/resolver.h"

namespace headrace {

class EpollTransport final : public HttpTransport {
 public:
  struct Stats {
    uint64_t requests = 0;            // completed, however
    uint64_t connections_opened = 0;  // attempts, each of which may try several addresses
    uint64_t reused = 0;              // requests sent on a connection that had served before
    uint64_t stale_retries = 0;       // requests sent again because a reused connection was dead
    uint32_t connections = 0;         // now
    uint32_t idle = 0;
    uint32_t queued = 0;
  };

  // Loop and resolver must outlive it. The TLS context is made at the first https request.
  EpollTransport(EventLoop& loop, std::shared_ptr<Resolver> resolver, TransportLimits limits = {},
                 TlsOptions tls = {});
  ~EpollTransport() override;  // close()

  void send(HttpRequest request, UniqueFunction<void(HttpOutcome)> done,
            std::stop_token stop) override;
  TimedExecutor& executor() override;

  // Everything queued or under way ends with kCancelled, as does everything sent later. From
  // another thread it waits until that is done; from the loop's own thread it is done by a task
  // after this one.
  void close();
  Stats stats() const;  // any thread

 private:
  class Core;
  std::shared_ptr<Core> core_;
};

}  // namespace headrace
