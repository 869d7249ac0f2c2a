// SPDX-License-Identifier: Apache-2.0
#include "net/client_connection.h"

#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "net/http_message.h"

namespace headrace {
namespace {

// getaddrinfo's own patience is two name servers, two tries, 5 s each; a name that takes longer is
// as good as gone.
constexpr Nanos kResolveTimeout = std::chrono::seconds(20);
constexpr uint32_t kEvents = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;

std::string millis(Nanos span) {
  return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(span).count()) +
         " ms";
}

}  // namespace

// ---- connecting ----

void ClientConnection::enter(State state) {
  state_ = state;
  since_ = owner_.loop().clock().now();
  progressed_ = false;
  pulse_.reset();
  owner_.check_no_later_than(*this, expires_at());
}

void ClientConnection::open_for(std::unique_ptr<Exchange> exchange) {
  exchange_ = std::move(exchange);
  exchange_->connection = this;
  enter(State::kResolving);
}

void ClientConnection::connect_to(std::vector<SocketAddress> addresses) {
  addresses_ = std::move(addresses);
  std::ranges::reverse(addresses_);
  try_next_address();
}

void ClientConnection::try_next_address() {
  while (!addresses_.empty()) {
    address_ = addresses_.back();
    addresses_.pop_back();
    if (start_connect(address_)) return;
    if (state_ == State::kDead) return;
  }
  finish(unavailable(action("connect for") + ": " + failures_ +
                     "; is the endpoint right, and is the server running?"),
         false);
}

// False: this address failed (noted in failures_) or the connection ended.
bool ClientConnection::start_connect(const SocketAddress& address) {
  fd_ = ::socket(address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd_ < 0) {
    const bool files = errno == EMFILE || errno == ENFILE;
    finish(exhausted(
               action("open a socket for") + ": " + std::strerror(errno) +
               (files ? "; raise the open file limit (ulimit -n) or lower connections_max" : "")),
           false);
    return false;
  }
  const int on = 1;
  ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  const int rc = ::connect(fd_, &address.any, address.size());
  if (rc != 0 && errno != EINPROGRESS) {
    address_failed(std::strerror(errno));
    return false;
  }
  if (Status status = owner_.loop().watch(fd_, kEvents, this); !status.ok()) {
    finish(status.with_context(action("open a socket for")), false);
    return false;
  }
  enter(State::kConnecting);
  return true;  // an immediate success shows as EPOLLOUT too
}

void ClientConnection::address_failed(const std::string& cause) {
  if (!failures_.empty()) failures_ += "; ";
  failures_ += address_.text() + ": " + cause;
  close_socket();
  owner_.address_failed(pool_, address_);
}

void ClientConnection::connected() {
  addresses_.clear();
  failures_.clear();
  if (!exchange_->request.endpoint.tls) return send_request();
  auto context = owner_.tls_context();
  if (!context.ok()) return finish(context.status(), false);
  auto stream = TlsStream::connect(*context, fd_, exchange_->request.endpoint.host);
  if (!stream.ok()) return finish(stream.status(), false);
  tls_ = *std::move(stream);
  enter(State::kHandshaking);
  on_handshake();
}

void ClientConnection::on_handshake() {
  switch (tls_->handshake()) {
    case TlsStream::Step::kDone:
      send_request();
      if (state_ == State::kActive) read_reply();  // the handshake's last read may have taken more
      return;
    case TlsStream::Step::kWantRead:
    case TlsStream::Step::kWantWrite:
      return;
    case TlsStream::Step::kClosed:
    case TlsStream::Step::kFailed:
      return finish(tls_->error().with_context(action("connect for")), false);
  }
}

// ---- one exchange ----

void ClientConnection::serve(std::unique_ptr<Exchange> exchange) {
  exchange_ = std::move(exchange);
  exchange_->connection = this;
  reused_ = true;
  send_request();
}

void ClientConnection::send_request() {
  reader_.begin(*exchange_);
  enter(State::kActive);
  exchange_->sent_at = since_;
  std::string& head = owner_.head_buffer();
  head.clear();
  if (Status status = append_request_head(head, exchange_->request); !status.ok())
    return finish(status, true);
  head += exchange_->request.body;
  const ssize_t n = write_some(as_bytes(head));
  if (n == static_cast<ssize_t>(head.size())) return;
  if (n < 0)
    return read_reply();  // an answer may stand before the error: a server that refuses and closes
  unsent_.assign(head, static_cast<size_t>(n));
  unsent_at_ = 0;
  if (tls_) send_rest();
}

// Bytes taken, 0 when the socket takes none now, -1 when it is broken.
ssize_t ClientConnection::write_some(Bytes bytes) {
  ssize_t n;
  if (tls_) {
    const TlsStream::Io io = tls_->write(bytes);
    const bool waits =
        io.step == TlsStream::Step::kWantRead || io.step == TlsStream::Step::kWantWrite;
    n = io.step == TlsStream::Step::kDone ? static_cast<ssize_t>(io.bytes) : waits ? 0 : -1;
  } else {
    do n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) n = 0;
  }
  if (n > 0) exchange_->sent = true;
  return n;
}

void ClientConnection::send_rest() {
  while (unsent_at_ < unsent_.size()) {
    const ssize_t n = write_some(as_bytes(std::string_view(unsent_).substr(unsent_at_)));
    if (n < 0) break;  // read_reply finds out why
    if (n == 0) return;
    unsent_at_ += static_cast<size_t>(n);
    progressed_ = true;
  }
  if (unsent_at_ < unsent_.size()) return read_reply();
  unsent_.clear();
  unsent_at_ = 0;
}

void ClientConnection::on_events(uint32_t events) {
  if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) peer_closed_ = true;
  switch (state_) {
    case State::kConnecting: {
      int error = 0;
      socklen_t size = sizeof error;
      ::getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &size);
      if (error != 0) {
        address_failed(std::strerror(error));
        return try_next_address();
      }
      if ((events & EPOLLOUT) == 0) return;
      connected();
      // A server may have answered or left already: that edge is used up by this event.
      if (state_ == State::kActive && (events & ~static_cast<uint32_t>(EPOLLOUT)) != 0)
        read_reply();
      return;
    }
    case State::kHandshaking:
      return on_handshake();
    case State::kActive:
      if (!unsent_.empty()) {
        send_rest();
        if (state_ != State::kActive) return;
      }
      if ((events & ~static_cast<uint32_t>(EPOLLOUT)) != 0) read_reply();
      return;
    case State::kIdle:
      // Nobody asked, so whatever comes is the end, or bytes of no reply. TLS 1.3 session tickets
      // come with the first reply, since they are sent before it.
      if (events == EPOLLOUT) return;
      close_socket();
      state_ = State::kDead;
      return owner_.idle_connection_closed(*this);
    case State::kResolving:
    case State::kDead:
      return;
  }
}

// As recv(), for the reader's targets; `asked` is their size. EAGAIN for TLS too.
ssize_t ClientConnection::read_some(size_t& asked) {
  iovec targets[ReplyReader::kTargetsMax];
  const int count = reader_.targets(targets, owner_.scratch());
  if (tls_) {
    asked = SIZE_MAX;  // a record's end says nothing about the socket: read until it wants more
    const TlsStream::Io io =
        tls_->read({static_cast<std::byte*>(targets[0].iov_base), targets[0].iov_len});
    if (io.step == TlsStream::Step::kDone) return static_cast<ssize_t>(io.bytes);
    if (io.step == TlsStream::Step::kClosed) return 0;
    errno = io.step == TlsStream::Step::kFailed ? EPROTO : EAGAIN;
    return -1;
  }
  if (count == 1) {
    asked = targets[0].iov_len;
    return ::recv(fd_, targets[0].iov_base, targets[0].iov_len, 0);
  }
  asked = 0;
  for (int i = 0; i < count; ++i) asked += targets[i].iov_len;
  return ::readv(fd_, targets, count);
}

void ClientConnection::read_reply() {
  for (;;) {
    size_t asked = 0;
    const ssize_t n = read_some(asked);
    if (n > 0) {
      progressed_ = true;
      const bool in_body = reader_.in_body();
      if (!reader_.started())
        exchange_->reply.first_byte = owner_.loop().clock().now() - exchange_->sent_at;
      if (Status status = reader_.received(static_cast<size_t>(n)); !status.ok())
        return finish(std::move(status), false);
      if (reader_.complete()) {
        const bool quiet = unsent_.empty() && !peer_closed_ && !(tls_ && tls_->has_buffered());
        return finish({}, reader_.keep_alive() && quiet);
      }
      if (!in_body && reader_.in_body())
        owner_.check_no_later_than(*this, expires_at());  // the stall clock is shorter
      // Edge-triggered: a short read has emptied the socket and the next byte makes an event,
      // except the end that has been announced already.
      if (static_cast<size_t>(n) < asked && !peer_closed_ && !tls_) return;
      continue;
    }
    if (n == 0) return lost(reader_.at_eof());
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return;
    if (tls_ && errno == EPROTO) return lost(tls_->error().with_context(action("receive")));
    return lost(unavailable(action("receive") + ": " + std::strerror(errno) + " after " +
                            std::to_string(exchange_->reply.body_bytes) + " body bytes"));
  }
}

// A server may close an idle connection just as the request leaves (RFC 9112 9.3.1): GET and HEAD
// change nothing, so they are sent again without anyone noticing. A PUT may have been done: that is
// the caller's decision.
bool ClientConnection::may_retry() const {
  const std::string& method = exchange_->request.method;
  return reused_ && !reader_.started() && !exchange_->retried &&
         (method == "GET" || method == "HEAD");
}

void ClientConnection::lost(Status why) {
  if (!may_retry()) return finish(std::move(why), false);
  close_socket();
  state_ = State::kDead;
  auto exchange = std::move(exchange_);
  exchange->retried = true;
  exchange->connection = nullptr;
  owner_.exchange_stale(*this, std::move(exchange));
}

void ClientConnection::finish(Status status, bool reusable) {
  auto exchange = std::move(exchange_);
  exchange->connection = nullptr;
  if (reusable) {
    enter(State::kIdle);
  } else {
    close_socket();
    state_ = State::kDead;
  }
  owner_.exchange_ended(*this, std::move(exchange), std::move(status), reusable);
}

void ClientConnection::abort(Status status) {
  if (state_ == State::kDead) return;
  if (exchange_ != nullptr) return finish(std::move(status), false);
  close_socket();
  state_ = State::kDead;
  owner_.idle_connection_closed(*this);
}

void ClientConnection::close_socket() {
  if (fd_ < 0) return;
  if (tls_) tls_->shutdown();
  tls_.reset();
  owner_.loop().unwatch(fd_, this);
  ::close(fd_);
  fd_ = -1;
  peer_closed_ = false;
}

// ---- clocks ----

// Of the state as it is, were nothing to move any more.
TimePoint ClientConnection::expires_at() const {
  const TransportLimits& limits = owner_.limits();
  switch (state_) {
    case State::kDead:
      return TimePoint::max();
    case State::kIdle:
      return since_ + limits.idle_max;
    case State::kResolving:
      return std::min(since_ + kResolveTimeout, exchange_->request.deadline.at);
    case State::kConnecting:
    case State::kHandshaking:
      return std::min(since_ + limits.connect_timeout, exchange_->request.deadline.at);
    case State::kActive:
      break;
  }
  const Nanos patience =
      reader_.in_body() ? limits.stall_timeout : exchange_->request.first_byte_timeout;
  return std::min(since_ + patience, exchange_->request.deadline.at);
}

void ClientConnection::check_time(TimePoint now) {
  if (std::exchange(progressed_, false) &&
      (exchange_ == nullptr || pulse_.moves(reader_.in_body(), exchange_->reply)))
    since_ = now;
  if (state_ != State::kDead && expires_at() <= now) expired();
  if (state_ != State::kDead) owner_.check_no_later_than(*this, expires_at());
}

void ClientConnection::expired() {
  const TransportLimits& limits = owner_.limits();
  if (state_ == State::kIdle) return abort({});
  if (exchange_->request.deadline.passed(owner_.loop().clock().now())) {
    return finish(timed_out(action("wait for") + ": its deadline has passed"), false);
  }
  if (state_ == State::kResolving) {
    return finish(
        timed_out(action("connect for") + ": DNS: no answer within " + millis(kResolveTimeout)),
        false);
  }
  if (state_ == State::kConnecting) {
    address_failed("no answer within " + millis(limits.connect_timeout));
    return try_next_address();
  }
  if (state_ == State::kHandshaking) {
    return finish(timed_out(action("connect for") + ": no TLS handshake within " +
                            millis(limits.connect_timeout)),
                  false);
  }
  if (!reader_.in_body()) {
    return finish(timed_out(action("wait for") + ": no reply within " +
                            millis(exchange_->request.first_byte_timeout)),
                  false);
  }
  const uint64_t dripped = pulse_.dripped(exchange_->reply);
  finish(timed_out(action("receive") + ": stalled for " + millis(limits.stall_timeout) + " after " +
                   std::to_string(exchange_->reply.body_bytes) + " body bytes" +
                   (dripped > 0 ? ", " + std::to_string(dripped) + " of them since" : "")),
         false);
}

}  // namespace headrace
