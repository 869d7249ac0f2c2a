// SPDX-License-Identifier: Apache-2.0
//
// What EpollTransport is made of: the books of one loop's connections, queue and endpoints. All of
// it lives on the loop's thread except submit() and stats(). epoll_core.cc lets requests in and out;
// epoll_core_upkeep.cc looks after addresses, cancellation and clocks.
#pragma once

#include <algorithm>
#include <atomic>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "net/client_connection.h"
#include "net/epoll_transport.h"
#include "net/exchange.h"

namespace headrace {

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

class EpollTransport::Core final : public ClientConnection::Owner,
                                   public std::enable_shared_from_this<Core> {
 public:
  Core(EventLoop& loop, std::shared_ptr<Resolver> resolver, TransportLimits limits, TlsOptions tls)
      : loop_(loop),
        resolver_(std::move(resolver)),
        limits_(limits),
        tls_options_(std::move(tls)),
        scratch_(std::make_unique<std::byte[]>(kScratchBytes)) {}

  void submit(std::unique_ptr<Exchange> exchange);
  void close_all();
  Stats stats() const;
  EventLoop& loop() override { return loop_; }

 private:
  static constexpr size_t kScratchBytes = 64 << 10;

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
  void exchange_ended(ClientConnection& connection, std::unique_ptr<Exchange> exchange,
                      Status status, bool reusable) override;
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
  std::vector<std::unique_ptr<ClientConnection>>
      dead_;  // until the calls that lead here have returned
  std::deque<std::unique_ptr<Exchange>> queue_;
  std::vector<Slot> slots_;  // exchanges that a stop token may cancel, by id
  std::vector<uint32_t> free_slots_;
  TimePoint tick_at_ = TimePoint::max();
  uint64_t ticks_armed_ = 0;
  bool busy_tick_armed_ = false;
  size_t idle_ = 0;
  bool starting_ =
      false;  // inside admit() or pump(): completions are posted and pump() does not nest
  bool closed_ = false;
  // Written by the loop's thread, read by stats():
  std::atomic<uint64_t> requests_{0}, opened_{0}, reused_{0}, stale_{0};
  std::atomic<uint32_t> connections_now_{0}, idle_now_{0}, queued_now_{0};
};

}  // namespace headrace
