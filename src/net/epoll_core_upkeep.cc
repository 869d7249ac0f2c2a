// SPDX-License-Identifier: Apache-2.0
#include "net/epoll_core.h"

namespace headrace {
namespace {

// The clocks are looked at this often, each only when it may have run out: 1,000 connections cost a
// scan of 8 KB.
constexpr Nanos kTickBusy = std::chrono::milliseconds(20);
constexpr Nanos kTickIdle = std::chrono::milliseconds(500);
constexpr Nanos kAddressesKeptFor = std::chrono::seconds(30);
// An address that did not connect is tried last for this long.
constexpr Nanos kAddressAvoidedFor = std::chrono::seconds(30);

}  // namespace

// ---- addresses ----

EndpointPool& EpollTransport::Core::pool_of(const HttpEndpoint& endpoint) {
  for (const auto& pool : pools_) {
    if (pool->endpoint == endpoint) return *pool;
  }
  pools_.push_back(std::make_unique<EndpointPool>());
  pools_.back()->endpoint = endpoint;
  return *pools_.back();
}

void EpollTransport::Core::resolve(EndpointPool& pool) {
  pool.resolving = true;
  resolver_->resolve(
      pool.endpoint.host, pool.endpoint.port,
      [weak = weak_from_this(), &loop = loop_, &pool](Resolved answer) {
        // The resolver may outlive the transport; the loop outlives both.
        loop.post([weak, &pool, answer = std::make_unique<Resolved>(std::move(answer))]() mutable {
          if (auto self = weak.lock()) self->resolved(pool, std::move(*answer));
        });
      });
}

void EpollTransport::Core::resolved(EndpointPool& pool, Resolved answer) {
  pool.resolving = false;
  const TimePoint now = loop_.clock().now();
  auto waiting = std::exchange(pool.waiting, {});
  if (!answer.ok()) {
    for (ClientConnection* connection : waiting) {
      connection->abort(
          answer.status().with_context("connect for " + connection->exchange()->name()));
    }
    return;
  }
  std::vector<EndpointPool::Address> addresses;
  for (const SocketAddress& address : *answer) {
    const auto old = std::ranges::find(pool.addresses, address, &EndpointPool::Address::address);
    addresses.push_back({address, old == pool.addresses.end() ? TimePoint{} : old->avoid_until});
  }
  pool.addresses = std::move(addresses);
  pool.addresses_until = now + kAddressesKeptFor;
  for (ClientConnection* connection : waiting) connection->connect_to(pool.in_order(now));
}

void EpollTransport::Core::address_failed(EndpointPool& pool, const SocketAddress& address) {
  const TimePoint now = loop_.clock().now();
  for (auto& entry : pool.addresses) {
    if (entry.address == address) entry.avoid_until = now + kAddressAvoidedFor;
  }
  // With none left that is known to be good, the next connection asks the name server again.
  const bool all_bad =
      std::ranges::all_of(pool.addresses, [now](const auto& e) { return e.avoid_until > now; });
  if (all_bad) pool.addresses_until = now;
}

Result<std::shared_ptr<TlsContext>> EpollTransport::Core::tls_context() {
  if (tls_ == nullptr) {
    HR_TRY_ASSIGN(tls_, TlsContext::client(tls_options_));
  }
  return tls_;
}

// ---- cancellation ----

void EpollTransport::Core::track(Exchange& exchange) {
  if (free_slots_.empty()) {
    free_slots_.push_back(static_cast<uint32_t>(slots_.size()));
    slots_.emplace_back();
  }
  const uint32_t index = free_slots_.back();
  free_slots_.pop_back();
  Slot& slot = slots_[index];
  slot.exchange = &exchange;
  exchange.id = (uint64_t{++slot.generation} << 32) | index;
  const auto post = [](void* core, uint64_t id) {
    auto self = static_cast<Core*>(core)->weak_from_this().lock();
    if (self == nullptr) return;
    EventLoop& loop = self->loop_;
    loop.post([self = std::move(self), id] { self->cancel(id); });
  };
  exchange.on_stop.emplace(exchange.stop, Exchange::StopPost{post, this, exchange.id});
}

void EpollTransport::Core::untrack(Exchange& exchange) {
  if (exchange.id == 0) return;
  exchange.on_stop.reset();  // waits for a callback that is running
  const auto index = static_cast<uint32_t>(exchange.id);
  slots_[index].exchange = nullptr;
  free_slots_.push_back(index);
  exchange.id = 0;
}

void EpollTransport::Core::cancel(uint64_t id) {
  const Slot& slot = slots_[static_cast<uint32_t>(id)];
  if (slot.exchange == nullptr || slot.generation != static_cast<uint32_t>(id >> 32)) return;
  Exchange& exchange = *slot.exchange;
  const Status status = cancelled(exchange.name() + ": stopped by the caller");
  if (exchange.connection != nullptr) return exchange.connection->abort(status);
  const auto it = std::ranges::find(queue_, &exchange, &std::unique_ptr<Exchange>::get);
  if (it == queue_.end()) return;
  auto taken = std::move(*it);
  queue_.erase(it);
  queued_now_.store(static_cast<uint32_t>(queue_.size()), std::memory_order_relaxed);
  complete(std::move(taken), status);
}

void EpollTransport::Core::close_all() {
  closed_ = true;
  starting_ =
      true;  // nothing starts any more; completions are posted, so that none runs inside this
  auto queue = std::exchange(queue_, {});
  queued_now_ = 0;
  for (auto& exchange : queue) {
    const Status status = cancelled(exchange->name() + ": the transport was closed");
    complete(std::move(exchange), status);
  }
  while (!connections_.empty()) {
    ClientConnection& connection = *connections_.back();
    const Exchange* exchange = connection.exchange();
    connection.abort(exchange ? cancelled(exchange->name() + ": the transport was closed")
                              : Status());
  }
  starting_ = false;
}

// ---- clocks ----

void EpollTransport::Core::arm_tick() {
  const bool busy = connections_.size() > idle_ || !queue_.empty();
  if ((busy && busy_tick_armed_) || connections_.empty())
    return;  // a queue without connections is not
  const TimePoint at = loop_.clock().now() + (busy ? kTickBusy : kTickIdle);
  if (tick_at_ <= at) return;  // one that is early enough is armed
  tick_at_ = at;
  busy_tick_armed_ = busy;
  loop_.post_at(at, [weak = weak_from_this(), number = ++ticks_armed_] {
    const auto self = weak.lock();
    if (self == nullptr || number != self->ticks_armed_) return;
    self->tick_at_ = TimePoint::max();
    self->busy_tick_armed_ = false;
    self->tick();
    self->arm_tick();
  });
}

void EpollTransport::Core::tick() {
  const TimePoint now = loop_.clock().now();
  std::vector<ClientConnection*> due;  // the dead stay in dead_ until this task is over
  for (size_t i = 0; i < connections_.size(); ++i) {
    if (check_at_[i] > now) continue;
    check_at_[i] = TimePoint::max();
    due.push_back(connections_[i].get());
  }
  for (ClientConnection* connection : due) connection->check_time(now);
  std::vector<std::unique_ptr<Exchange>> late;
  for (auto& exchange : queue_) {
    if (exchange->request.deadline.passed(now)) late.push_back(std::move(exchange));
  }
  std::erase(queue_, nullptr);
  queued_now_.store(static_cast<uint32_t>(queue_.size()), std::memory_order_relaxed);
  for (auto& exchange : late) {
    const Status status = timed_out(exchange->name() + ": its deadline passed while all " +
                                    std::to_string(limits_.connections_max) +
                                    " connections (connections_max) were busy");
    complete(std::move(exchange), status);
  }
}

EpollTransport::Stats EpollTransport::Core::stats() const {
  return {.requests = requests_,
          .connections_opened = opened_,
          .reused = reused_,
          .stale_retries = stale_,
          .connections = connections_now_,
          .idle = idle_now_,
          .queued = queued_now_};
}

}  // namespace headrace
