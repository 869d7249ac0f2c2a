// SPDX-License-Identifier: Apache-2.0
#include "net/epoll_transport.h"

#include <algorithm>
#include <deque>
#include <future>

#include "net/client_connection.h"
#include "net/exchange.h"

namespace headrace {
namespace {

constexpr size_t kScratchBytes = 64 << 10;
// The clocks are looked at this often, each only when it may have run out: 1,000 connections cost a scan of 8 KB.
constexpr Nanos kTickBusy = std::chrono::milliseconds(20);
constexpr Nanos kTickIdle = std::chrono::milliseconds(500);
constexpr Nanos kAddressesKeptFor = std::chrono::seconds(30);
// An address that did not connect is tried last for this long.
constexpr Nanos kAddressAvoidedFor = std::chrono::seconds(30);

}  // namespace

// One endpoint's addresses and idle connections.
struct EndpointPool {
  struct Address {
    SocketAddress address;
    TimePoint avoid_until{};
  };
  HttpEndpoint endpoint;
  std::vector<ClientConnection*> idle;     // the last is the freshest
  std::vector<ClientConnection*> waiting;  // for addresses
  std::vector<Address> addresses;
  TimePoint addresses_until{};
  size_t next_address = 0;
  bool resolving = false;

  // Good ones first, starting at another one each time; then the avoided ones.
  std::vector<SocketAddress> in_order(TimePoint now) {
    std::vector<SocketAddress> good, avoided;
    for (size_t i = 0; i < addresses.size(); ++i) {
      const Address& entry = addresses[(next_address + i) % addresses.size()];
      (entry.avoid_until > now ? avoided : good).push_back(entry.address);
    }
    ++next_address;
    good.insert(good.end(), avoided.begin(), avoided.end());
    return good;
  }
};

class EpollTransport::Core final : public ClientConnection::Owner, public std::enable_shared_from_this<Core> {
 public:
  Core(EventLoop& loop, std::shared_ptr<Resolver> resolver, TransportLimits limits, TlsOptions tls)
      : loop_(loop), resolver_(std::move(resolver)), limits_(limits), tls_options_(std::move(tls)),
        scratch_(std::make_unique<std::byte[]>(kScratchBytes)) {}

  void submit(std::unique_ptr<Exchange> exchange);
  void close_all();
  Stats stats() const;
  EventLoop& loop() override { return loop_; }

 private:
  struct Slot {
    Exchange* exchange = nullptr;
    uint32_t generation = 0;
  };

  void admit(std::unique_ptr<Exchange> exchange);
  bool try_start(std::unique_ptr<Exchange>& exchange);
  void open(std::unique_ptr<Exchange> exchange);
  void pump();
  void complete(std::unique_ptr<Exchange> exchange, Status status);
  void cancel(uint64_t id);
  void track(Exchange& exchange);
  void untrack(Exchange& exchange);
  EndpointPool& pool_of(const HttpEndpoint& endpoint);
  void resolve(EndpointPool& pool);
  void resolved(EndpointPool& pool, Resolved answer);
  void forget(ClientConnection& connection);
  bool evict_idle();
  void tick();
  void arm_tick();

  const TransportLimits& limits() const override { return limits_; }
  MutableBytes scratch() override { return {scratch_.get(), kScratchBytes}; }
  std::string& head_buffer() override { return head_buffer_; }
  Result<std::shared_ptr<TlsContext>> tls_context() override;
  void address_failed(EndpointPool& pool, const SocketAddress& address) override;
  void exchange_ended(ClientConnection& connection, std::unique_ptr<Exchange> exchange, Status status,
                      bool reusable) override;
  void exchange_stale(ClientConnection& connection, std::unique_ptr<Exchange> exchange) override;
  void idle_connection_closed(ClientConnection& connection) override;
  void check_no_later_than(ClientConnection& connection, TimePoint when) override {
    TimePoint& at = check_at_[connection.pool_index];
    at = std::min(at, when);
  }

  EventLoop& loop_;
  const std::shared_ptr<Resolver> resolver_;
  const TransportLimits limits_;
  const TlsOptions tls_options_;
  // The loop's thread only:
  std::unique_ptr<std::byte[]> scratch_;
  std::string head_buffer_;
  std::shared_ptr<TlsContext> tls_;
  std::vector<std::unique_ptr<EndpointPool>> pools_;
  std::vector<std::unique_ptr<ClientConnection>> connections_;
  std::vector<TimePoint> check_at_;  // by pool_index: no clock of that connection runs out before
  std::vector<std::unique_ptr<ClientConnection>> dead_;  // until the calls that lead here have returned
  std::deque<std::unique_ptr<Exchange>> queue_;
  std::vector<Slot> slots_;  // exchanges that a stop token may cancel, by id
  std::vector<uint32_t> free_slots_;
  TimePoint tick_at_ = TimePoint::max();
  uint64_t ticks_armed_ = 0;
  bool busy_tick_armed_ = false;
  size_t idle_ = 0;
  bool starting_ = false;  // inside admit() or pump(): completions are posted and pump() does not nest
  bool closed_ = false;
  // Written by the loop's thread, read by stats():
  std::atomic<uint64_t> requests_{0}, opened_{0}, reused_{0}, stale_{0};
  std::atomic<uint32_t> connections_now_{0}, idle_now_{0}, queued_now_{0};
};

// ---- in and out ----

void EpollTransport::Core::submit(std::unique_ptr<Exchange> exchange) {
  if (loop_.on_loop_thread()) return admit(std::move(exchange));
  loop_.post([self = shared_from_this(), exchange = std::move(exchange)]() mutable { self->admit(std::move(exchange)); });
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
  loop_.post([exchange = std::move(exchange), status = std::make_unique<Status>(std::move(status))]() mutable {
    exchange->complete(std::move(*status));
  });
}

// ---- what connections tell ----

void EpollTransport::Core::exchange_ended(ClientConnection& connection, std::unique_ptr<Exchange> exchange,
                                          Status status, bool reusable) {
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

void EpollTransport::Core::exchange_stale(ClientConnection& connection, std::unique_ptr<Exchange> exchange) {
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
    if (oldest == nullptr || pool->idle.front()->idle_since() < oldest->idle_since()) oldest = pool->idle.front();
  }
  if (oldest == nullptr) return false;
  oldest->abort({});
  return true;
}

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
  resolver_->resolve(pool.endpoint.host, pool.endpoint.port,
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
      connection->abort(answer.status().with_context("connect for " + connection->exchange()->name()));
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
  const bool all_bad = std::ranges::all_of(pool.addresses, [now](const auto& e) { return e.avoid_until > now; });
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
  starting_ = true;  // nothing starts any more; completions are posted, so that none runs inside this
  auto queue = std::exchange(queue_, {});
  queued_now_ = 0;
  for (auto& exchange : queue) {
    const Status status = cancelled(exchange->name() + ": the transport was closed");
    complete(std::move(exchange), status);
  }
  while (!connections_.empty()) {
    ClientConnection& connection = *connections_.back();
    const Exchange* exchange = connection.exchange();
    connection.abort(exchange ? cancelled(exchange->name() + ": the transport was closed") : Status());
  }
  starting_ = false;
}

// ---- clocks ----

void EpollTransport::Core::arm_tick() {
  const bool busy = connections_.size() > idle_ || !queue_.empty();
  if ((busy && busy_tick_armed_) || connections_.empty()) return;  // a queue without connections is not
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
                                    std::to_string(limits_.connections_max) + " connections (connections_max) were busy");
    complete(std::move(exchange), status);
  }
}

EpollTransport::Stats EpollTransport::Core::stats() const {
  return {.requests = requests_, .connections_opened = opened_, .reused = reused_, .stale_retries = stale_,
          .connections = connections_now_, .idle = idle_now_, .queued = queued_now_};
}

// ---- the handle ----

EpollTransport::EpollTransport(EventLoop& loop, std::shared_ptr<Resolver> resolver, TransportLimits limits,
                               TlsOptions tls)
    : core_(std::make_shared<Core>(loop, std::move(resolver), limits, std::move(tls))) {}

EpollTransport::~EpollTransport() { close(); }

void EpollTransport::send(HttpRequest request, UniqueFunction<void(HttpOutcome)> done, std::stop_token stop) {
  auto exchange = std::make_unique<Exchange>();
  exchange->request = std::move(request);
  exchange->done = std::move(done);
  exchange->stop = std::move(stop);
  for (const MutableBytes& piece : exchange->request.body_into) exchange->expected_bytes += piece.size();
  exchange->submitted_at = core_->loop().clock().now();
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
