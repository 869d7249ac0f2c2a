// SPDX-License-Identifier: Apache-2.0
//
// Reading requests and the order of steps. Sending is connection_send.cc.
#include "serve/connection.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace headrace::serve {
namespace {

constexpr size_t kInBytes = 16 << 10;        // most heads are below 1 KiB
constexpr size_t kInBytesMax = 48 << 10;     // the parser refuses heads above 32 KiB
constexpr uint64_t kThrowAwayMax = 1 << 20;  // of a refused body, to keep the connection

}  // namespace

Connection::~Connection() {
  if (fd_ >= 0) ::close(fd_);
}

void Connection::open(int fd) {
  fd_ = fd;
  step_ = Step::kReadHead;
  if (context_.state->tls) {
    step_ = Step::kHandshake;
    Result<std::unique_ptr<TlsStream>> tls = TlsStream::accept(context_.state->tls, fd);
    if (tls.ok()) tls_ = *std::move(tls);
  }
  readable_ = peer_done_ = in_flight_ = throw_away_ = reused_ = false;
  in_begin_ = in_end_ = 0;
  if (in_.size() < kInBytes) in_.resize(kInBytes);
  parser_ = RequestParser();
  ++generation_;
  context_.state->stats.connections.fetch_add(1, std::memory_order_relaxed);
  context_.state->stats.connections_open.fetch_add(1, std::memory_order_relaxed);
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  // Edge-triggered, registered once: no epoll_ctl in a connection's life but this one.
  if (!context_.loop->watch(fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, this).ok()) close();
  if (step_ == Step::kHandshake && tls_ == nullptr) close();
  if (step_ != Step::kClosed) spoil_opening();
}

void Connection::close() {
  if (step_ == Step::kClosed) return;
  step_ = Step::kClosed;
  ++generation_;
  context_.loop->unwatch(fd_, this);
  tls_.reset();
  ::close(fd_);
  fd_ = -1;
  if (in_flight_) context_.state->stats.leave();
  in_flight_ = false;
  exchange_.incoming.reset();
  exchange_.reply.clear();
  context_.state->stats.connections_open.fetch_sub(1, std::memory_order_relaxed);
  context_.idle.push_back(this);
}

void Connection::on_events(uint32_t events) {
  if (step_ == Step::kClosed) return;
  if ((events & (EPOLLHUP | EPOLLERR)) != 0) return close();
  if ((events & EPOLLRDHUP) != 0) peer_done_ = true;
  if ((events & EPOLLIN) != 0) readable_ = true;
  advance();
}

// Runs steps until one has to wait for the client or for time.
void Connection::advance() {
  if (advancing_) return;
  advancing_ = true;
  Progress progress = Progress::kMore;
  while (progress == Progress::kMore) {
    switch (step_) {
      case Step::kHandshake:
        progress = handshake();
        break;
      case Step::kReadHead:
        progress = read_head();
        break;
      case Step::kReadBody:
        progress = read_body();
        break;
      case Step::kSend:
        progress = send_some();
        break;
      case Step::kWait:
      case Step::kClosed:
        progress = Progress::kBlocked;
        break;
    }
  }
  advancing_ = false;
}

Connection::Progress Connection::handshake() {
  switch (tls_->handshake()) {
    case TlsStream::Step::kDone:
      step_ = Step::kReadHead;
      return Progress::kMore;
    case TlsStream::Step::kWantRead:
    case TlsStream::Step::kWantWrite:
      return Progress::kBlocked;
    default:
      return close(), Progress::kBlocked;
  }
}

// As recv(): bytes, 0 at the end, or -1 and errno. A short read has drained a plain socket; TLS
// comes in records, so there only "would block" means empty.
ssize_t Connection::receive(char* into, size_t size) {
  if (tls_ == nullptr) {
    const ssize_t n = ::recv(fd_, into, size, 0);
    if (n > 0 && static_cast<size_t>(n) < size && !peer_done_) readable_ = false;
    return n;
  }
  const TlsStream::Io io = tls_->read({reinterpret_cast<std::byte*>(into), size});
  if (io.step == TlsStream::Step::kDone) return static_cast<ssize_t>(io.bytes);
  if (io.step == TlsStream::Step::kClosed) return 0;
  errno = io.step == TlsStream::Step::kFailed ? ECONNRESET : EAGAIN;
  return -1;
}

// As send(): how many bytes went, or -1 and errno when none did.
ssize_t Connection::send_bytes(const char* bytes, size_t size, int flags) {
  if (tls_ == nullptr) return ::send(fd_, bytes, size, MSG_NOSIGNAL | flags);
  size_t sent = 0;
  while (sent < size) {
    const TlsStream::Io io =
        tls_->write({reinterpret_cast<const std::byte*>(bytes) + sent, size - sent});
    sent += io.bytes;
    if (io.step == TlsStream::Step::kDone) continue;
    if (sent > 0) break;
    const bool blocked =
        io.step == TlsStream::Step::kWantWrite || io.step == TlsStream::Step::kWantRead;
    errno = blocked ? EAGAIN : ECONNRESET;
    return -1;
  }
  return static_cast<ssize_t>(sent);
}

// Receives into the head buffer. False when nothing came (then the connection may be closed).
bool Connection::fill() {
  if (!readable_) {
    if (peer_done_ && step_ == Step::kReadHead) close();
    return false;
  }
  if (in_begin_ == in_end_) in_begin_ = in_end_ = 0;
  if (in_end_ == in_.size() && in_begin_ > 0) {
    std::memmove(in_.data(), in_.data() + in_begin_, in_end_ - in_begin_);
    in_end_ -= in_begin_;
    in_begin_ = 0;
  }
  if (in_end_ == in_.size() && in_.size() < kInBytesMax) in_.resize(kInBytesMax);
  const size_t room = in_.size() - in_end_;
  const ssize_t n = receive(in_.data() + in_end_, room);
  if (n > 0) {
    in_end_ += static_cast<size_t>(n);
    return true;
  }
  readable_ = false;
  if (n == 0 || (errno != EAGAIN && errno != EINTR)) close();
  return false;
}

Connection::Progress Connection::read_head() {
  const std::string_view unread(in_.data() + in_begin_, in_end_ - in_begin_);
  Result<std::optional<size_t>> size = unread.empty()
                                           ? Result<std::optional<size_t>>(std::optional<size_t>())
                                           : parser_.parse(unread, request_);
  if (size.ok() && !*size) return fill() ? Progress::kMore : Progress::kBlocked;
  arrived_ = context_.loop->clock().now();
  context_.state->stats.enter();
  in_flight_ = true;
  throw_away_ = false;
  if (!size.ok()) {
    context_.state->stats.refused_heads.fetch_add(1, std::memory_order_relaxed);
    in_begin_ = in_end_ = 0;
    context_.service->refuse(size.status(), exchange_);
    begin_reply();
    return Progress::kMore;
  }
  in_begin_ += **size;
  context_.service->begin(request_, exchange_, reused_);
  if (request_.framing == BodyFraming::kNone ||
      (request_.framing == BodyFraming::kLength && request_.content_length == 0)) {
    if (exchange_.wants_body) context_.service->finish_body(request_, exchange_);
    begin_reply();
    return Progress::kMore;
  }
  body_left_ = request_.content_length;
  outer_chunks_.reset();
  aws_chunks_.reset();
  step_ = Step::kReadBody;
  throw_away_ = !exchange_.wants_body;
  if (throw_away_ && (request_.expect_continue || body_left_ > kThrowAwayMax ||
                      request_.framing == BodyFraming::kChunked)) {
    // Nobody reads this body: answer now and close, rather than wait for bytes that may never come.
    exchange_.reply.close = true;
    begin_reply();
  } else if (request_.expect_continue) {
    constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
    if (send_bytes(kContinue.data(), kContinue.size(), 0) < 0) close();
  }
  return Progress::kMore;
}

// The framings a body can have: length or chunks, and inside them AWS's own chunks.
Connection::Progress Connection::take_body_bytes(std::string_view bytes, size_t& used) {
  Bytes data = as_bytes(bytes);
  used = 0;
  bool last = false;
  if (request_.framing == BodyFraming::kChunked) {
    Result<ChunkedDecoder::Piece> piece = outer_chunks_.next(data);
    if (!piece.ok()) return close(), Progress::kBlocked;
    used = piece->consumed;
    data = piece->data;
    last = piece->done;
  } else {
    data = data.first(std::min<uint64_t>(data.size(), body_left_));
    used = data.size();
    body_left_ -= used;
    last = body_left_ == 0;
  }
  const bool aws = exchange_.incoming && exchange_.incoming->promise.aws_chunked;
  while (!throw_away_ && !data.empty()) {
    if (!aws) {
      context_.service->take_body(exchange_, data);
      break;
    }
    Result<ChunkedDecoder::Piece> piece = aws_chunks_.next(data);
    if (!piece.ok()) return close(), Progress::kBlocked;
    if (!piece->data.empty()) context_.service->take_body(exchange_, piece->data);
    if (piece->done || piece->consumed == 0) break;
    data = data.subspan(piece->consumed);
  }
  if (last) end_of_body();
  return Progress::kMore;
}

Connection::Progress Connection::read_body() {
  if (in_begin_ < in_end_) {
    size_t used = 0;
    const Progress progress = take_body_bytes({in_.data() + in_begin_, in_end_ - in_begin_}, used);
    in_begin_ += used;
    return progress;
  }
  if (!readable_) {
    if (peer_done_) close();  // the body ends early
    return Progress::kBlocked;
  }
  // Never past the body's end, so that what follows is found in in_; a chunked body goes through
  // in_.
  if (request_.framing == BodyFraming::kChunked)
    return fill() ? Progress::kMore : Progress::kBlocked;
  std::vector<char>& chunk = context_.body_chunk;
  const ssize_t n = receive(chunk.data(), std::min<uint64_t>(chunk.size(), body_left_));
  if (n > 0) {
    size_t used = 0;
    return take_body_bytes({chunk.data(), static_cast<size_t>(n)}, used);
  }
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
    readable_ = false;
    return Progress::kBlocked;
  }
  close();
  return Progress::kBlocked;
}

void Connection::end_of_body() {
  if (exchange_.incoming) {
    context_.state->stats.upload_bytes.fetch_add(exchange_.incoming->bytes,
                                                 std::memory_order_relaxed);
  }
  if (!throw_away_) context_.service->finish_body(request_, exchange_);
  begin_reply();
}

void Connection::wait_until(TimePoint when, Step then) {
  step_ = Step::kWait;
  after_wait_ = then;
  // A common grid of 50 us lets timers fire together: one wake-up and one timerfd_settime for many.
  constexpr int64_t kGridNanos = 50'000;
  const int64_t nanos = when.time_since_epoch().count();
  const TimePoint on_grid{Nanos((nanos + kGridNanos - 1) / kGridNanos * kGridNanos)};
  context_.loop->post_at(on_grid, [this, generation = ++generation_] {
    if (generation == generation_) on_timer();
  });
}

void Connection::on_timer() {
  if (step_ != Step::kWait) return;
  step_ = after_wait_;
  advance();
}

void Connection::record() const {
  ServerState& state = *context_.state;
  const Reply& reply = exchange_.reply;
  state.stats.requests[static_cast<size_t>(exchange_.call.op)].fetch_add(1,
                                                                         std::memory_order_relaxed);
  state.stats.by_class[static_cast<size_t>(reply.status / 100)].fetch_add(
      1, std::memory_order_relaxed);
  const uint64_t sent = reply.object ? body_at_ - body_begin_ : reply.text.size();
  state.stats.body_bytes.fetch_add(sent, std::memory_order_relaxed);
  if (state.log == nullptr || exchange_.call.op == S3Op::kControl) return;
  const TimePoint now = context_.loop->clock().now();
  const auto ms = [&](TimePoint end) {
    return static_cast<double>((end - arrived_).count()) * 1e-6;
  };
  timespec wall;
  ::clock_gettime(CLOCK_REALTIME, &wall);
  state.log->add({.t = static_cast<double>(wall.tv_sec) + static_cast<double>(wall.tv_nsec) * 1e-9 -
                       ms(now) * 1e-3,
                  .op = exchange_.call.op,
                  .bucket = exchange_.call.bucket,
                  .key = exchange_.call.key,
                  .range = exchange_.range,
                  .status = reply.status,
                  .bytes = sent,
                  .first_byte_ms = first_byte_ == TimePoint{} ? 0 : ms(first_byte_),
                  .total_ms = ms(now),
                  .attempt = reply.attempt,
                  .fault = reply.fault ? fault_kind_name(reply.fault->kind) : std::string_view()});
}

}  // namespace headrace::serve
