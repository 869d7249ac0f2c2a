// SPDX-License-Identifier: Apache-2.0
#include "net/epoll_transport.h"

#include <future>

#include "net/epoll_core.h"

namespace headrace {

EpollTransport::EpollTransport(EventLoop& loop, std::shared_ptr<Resolver> resolver,
                               TransportLimits limits, TlsOptions tls)
    : core_(std::make_shared<Core>(loop, std::move(resolver), limits, std::move(tls))) {}

EpollTransport::~EpollTransport() { close(); }

void EpollTransport::send(HttpRequest request, UniqueFunction<void(HttpOutcome)> done,
                          std::stop_token stop) {
  auto exchange = make_exchange(std::move(request), std::move(done), std::move(stop),
                                core_->loop().clock().now());
  core_->submit(std::move(exchange));
}

TimedExecutor& EpollTransport::executor() { return core_->loop(); }

void EpollTransport::close() {
  std::promise<void> closed;
  std::future<void> waits = closed.get_future();
  core_->loop().post([core = core_, closed = std::move(closed)]() mutable {
    core->close_all();
    // Behind the completions that close_all() posted.
    core->loop().post([core, closed = std::move(closed)]() mutable { closed.set_value(); });
  });
  // A loop that has stopped drops the task and breaks the promise, which ends the wait too.
  if (!core_->loop().on_loop_thread()) waits.wait();
}

EpollTransport::Stats EpollTransport::stats() const { return core_->stats(); }

}  // namespace headrace
