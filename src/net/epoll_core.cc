// SPDX-License-Identifier: Apache-2.0
#include "net/epoll_core.h"

namespace headrace {

// ---- in and out ----

void EpollTransport::Core::submit(std::unique_ptr<Exchange> exchange) {
  if (loop_.on_loop_thread()) return admit(std::move(exchange));
  loop_.post([self = shared_from_this(), exchange = std::move(exchange)]() mutable {
    self->admit(std::move(exchange));
  });
}

void EpollTransport::Core::admit(std::unique_ptr<Exchange> exchange) {
  const bool outer = std::exchange(starting_, true);
  if (closed_ || exchange->stop.stop_requested()) {
    const char* why = closed_ ? ": the transport is closed" : ": stopped by the caller";
    const std::string text = exchange->name() + why;
    complete(std::move(exchange), cancelled(text));
  } else {
    exchange->pool = &pool_of(exchange->request.endpoint);
    if (exchange->stop.stop_possible()) track(*exchange);
    if (!queue_.empty() || !try_start(exchange)) {
      queue_.push_back(std::move(exchange));
      queued_now_.store(static_cast<uint32_t>(queue_.size()), std::memory_order_relaxed);
    }
    arm_tick();
  }
  starting_ = outer;
}

// Takes the exchange and gives it a connection, or leaves it where it is: false.
bool EpollTransport::Core::try_start(std::unique_ptr<Exchange>& exchange) {
  auto& idle = exchange->pool->idle;
  if (!idle.empty()) {
    ClientConnection* connection = idle.back();
    idle.pop_back();
    idle_now_.store(static_cast<uint32_t>(--idle_), std::memory_order_relaxed);
    reused_.fetch_add(1, std::memory_order_relaxed);
    connection->serve(std::move(exchange));
    return true;
  }
  if (connections_.size() >= limits_.connections_max && !evict_idle()) return false;
  open(std::move(exchange));
  return true;
}

void EpollTransport::Core::open(std::unique_ptr<Exchange> exchange) {
  EndpointPool& pool = *exchange->pool;
  auto connection = std::make_unique<ClientConnection>(*this, pool);
  ClientConnection& opened = *connection;
  opened.pool_index = connections_.size();
  connections_.push_back(std::move(connection));
  check_at_.push_back(TimePoint::max());
  connections_now_.store(static_cast<uint32_t>(connections_.size()), std::memory_order_relaxed);
  opened_.fetch_add(1, std::memory_order_relaxed);
  opened.open_for(std::move(exchange));
  if (!pool.addresses.empty() && loop_.clock().now() < pool.addresses_until) {
    return opened.connect_to(pool.in_order(loop_.clock().now()));
  }
  pool.waiting.push_back(&opened);
  if (!pool.resolving) resolve(pool);
}

// Starts what waits, as far as connections go.
void EpollTransport::Core::pump() {
  if (starting_) return;
  starting_ = true;
  while (!queue_.empty() && try_start(queue_.front())) {
    queue_.pop_front();
    queued_now_.store(static_cast<uint32_t>(queue_.size()), std::memory_order_relaxed);
  }
  starting_ = false;
}

void EpollTransport::Core::complete(std::unique_ptr<Exchange> exchange, Status status) {
  untrack(*exchange);
  requests_.fetch_add(1, std::memory_order_relaxed);
  exchange->reply.total = loop_.clock().now() - exchange->submitted_at;
  if (!starting_) return exchange->complete(std::move(status));
  loop_.post([exchange = std::move(exchange),
              status = std::make_unique<Status>(std::move(status))]() mutable {
    exchange->complete(std::move(*status));
  });
}

// ---- what connections tell ----

void EpollTransport::Core::exchange_ended(ClientConnection& connection,
                                          std::unique_ptr<Exchange> exchange, Status status,
                                          bool reusable) {
  if (!reusable) {
    forget(connection);
  } else if (closed_ || idle_ >= limits_.connections_idle_max) {
    connection.abort({});
  } else {
    connection.pool().idle.push_back(&connection);
    idle_now_.store(static_cast<uint32_t>(++idle_), std::memory_order_relaxed);
  }
  pump();
  complete(std::move(exchange), std::move(status));
}

void EpollTransport::Core::exchange_stale(ClientConnection& connection,
                                          std::unique_ptr<Exchange> exchange) {
  forget(connection);
  stale_.fetch_add(1, std::memory_order_relaxed);
  const bool outer = std::exchange(starting_, true);
  open(std::move(exchange));  // into the place that the dead one leaves
  starting_ = outer;
  pump();  // where that failed at once, the place is free for what waits
}

void EpollTransport::Core::idle_connection_closed(ClientConnection& connection) {
  auto& idle = connection.pool().idle;
  if (const auto it = std::ranges::find(idle, &connection); it != idle.end()) {
    idle.erase(it);
    idle_now_.store(static_cast<uint32_t>(--idle_), std::memory_order_relaxed);
  }
  forget(connection);
}

// Out of the books; destroyed once the stack that leads here is gone.
void EpollTransport::Core::forget(ClientConnection& connection) {
  std::erase(connection.pool().waiting, &connection);
  const size_t index = connection.pool_index;
  if (dead_.empty()) loop_.post([self = shared_from_this()] { self->dead_.clear(); });
  dead_.push_back(std::move(connections_[index]));
  if (index + 1 != connections_.size()) {
    connections_[index] = std::move(connections_.back());
    connections_[index]->pool_index = index;
    check_at_[index] = check_at_.back();
  }
  connections_.pop_back();
  check_at_.pop_back();
  connections_now_.store(static_cast<uint32_t>(connections_.size()), std::memory_order_relaxed);
}

// Closes the idle connection that has been so longest, to make room for another endpoint.
bool EpollTransport::Core::evict_idle() {
  ClientConnection* oldest = nullptr;
  for (const auto& pool : pools_) {
    if (pool->idle.empty()) continue;
    if (oldest == nullptr || pool->idle.front()->idle_since() < oldest->idle_since())
      oldest = pool->idle.front();
  }
  if (oldest == nullptr) return false;
  oldest->abort({});
  return true;
}

}  // namespace headrace
