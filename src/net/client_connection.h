// SPDX-License-Identifier: Apache-2.0
//
// One client connection: connect to the next address until one answers, TLS, then one exchange
// after another. Registered edge-triggered once for its life. Lives on its loop's thread; which
// exchange it serves is its owner's decision.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "net/body_pulse.h"
#include "net/event_loop.h"
#include "net/exchange.h"
#include "net/reply_reader.h"
#include "net/resolver.h"
#include "net/tls.h"

namespace headrace {

class ClientConnection final : public FdHandler {
 public:
  // What a connection tells its pool. The pool must not destroy the connection inside these calls.
  class Owner {
   public:
    virtual ~Owner() = default;
    virtual EventLoop& loop() = 0;
    virtual const TransportLimits& limits() const = 0;
    virtual MutableBytes scratch() = 0;      // one for all: nothing stays in it between two events
    virtual std::string& head_buffer() = 0;  // likewise
    virtual Result<std::shared_ptr<TlsContext>> tls_context() = 0;
    virtual void address_failed(EndpointPool& pool, const SocketAddress& address) = 0;
    // The exchange is over. `reusable`: the connection is idle now, otherwise dead.
    virtual void exchange_ended(ClientConnection& connection, std::unique_ptr<Exchange> exchange,
                                Status status, bool reusable) = 0;
    // A reused connection died before it answered: it is dead, the exchange wants a fresh one.
    virtual void exchange_stale(ClientConnection& connection,
                                std::unique_ptr<Exchange> exchange) = 0;
    virtual void idle_connection_closed(ClientConnection& connection) = 0;
    // check_time() is wanted at `when`, or earlier if it was asked for earlier.
    virtual void check_no_later_than(ClientConnection& connection, TimePoint when) = 0;
  };

  ClientConnection(Owner& owner, EndpointPool& pool)
      : owner_(owner), pool_(pool), reader_(owner.limits().header_bytes_max) {}
  ~ClientConnection() override { close_socket(); }

  // Takes the exchange it is opened for; waits for connect_to().
  void open_for(std::unique_ptr<Exchange> exchange);
  void connect_to(std::vector<SocketAddress> addresses);
  // On an idle connection.
  void serve(std::unique_ptr<Exchange> exchange);
  // Ends whatever goes on with `status`; an idle connection is closed. It is dead afterwards.
  void abort(Status status);
  // Looks at the clocks: connect, first byte, stall, deadline, idle age. Asks for the next check by
  // itself.
  void check_time(TimePoint now);

  void on_events(uint32_t events) override;

  EndpointPool& pool() { return pool_; }
  bool idle() const { return state_ == State::kIdle; }
  bool dead() const { return state_ == State::kDead; }
  TimePoint idle_since() const { return since_; }
  Exchange* exchange() { return exchange_.get(); }

  size_t pool_index = 0;  // the owner's: place among its connections

 private:
  enum class State { kResolving, kConnecting, kHandshaking, kActive, kIdle, kDead };

  void enter(State state);
  TimePoint expires_at() const;
  void expired();
  void try_next_address();
  bool start_connect(const SocketAddress& address);
  void address_failed(const std::string& cause);
  void connected();
  void on_handshake();
  void send_request();
  void send_rest();
  ssize_t write_some(Bytes bytes);
  void read_reply();
  ssize_t read_some(size_t& asked);
  void lost(Status why);
  void finish(Status status, bool reusable);
  void close_socket();
  bool may_retry() const;
  std::string action(const char* what) const { return std::string(what) + " " + exchange_->name(); }

  Owner& owner_;
  EndpointPool& pool_;
  int fd_ = -1;
  State state_ = State::kResolving;
  bool reused_ = false;
  bool peer_closed_ =
      false;  // an event said so: read to the end instead of stopping at a short read
  bool progressed_ = false;  // bytes moved since the last check_time
  TimePoint since_;          // entered the state, or last progress
  BodyPulse pulse_;          // of the reply's body
  std::unique_ptr<TlsStream> tls_;
  std::unique_ptr<Exchange> exchange_;
  ReplyReader reader_;
  std::string unsent_;  // of the request, when one send did not take it
  size_t unsent_at_ = 0;
  std::vector<SocketAddress> addresses_;  // still to try, in reverse
  SocketAddress address_;
  std::string failures_;  // "127.0.0.1:9000: Connection refused; ..."
};

}  // namespace headrace
