// SPDX-License-Identifier: Apache-2.0
//
// Sending a reply: when (weather, pacing), from where (text, file, computed pieces), and spoiled
// how (faults).
//
// Ways out, by cost: a small body is copied behind its head and leaves in one send; a file's larger
// body goes by sendfile, which over loopback hands the page cache's own pages to the receiver (one
// copy instead of two); computed bodies by sendmsg from the hot pattern; flipped ones through a
// copy.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

#include <cerrno>

#include "serve/connection.h"

namespace headrace::serve {
namespace {

constexpr uint64_t kInlineBodyMax =
    16 << 10;  // copied behind the head: 16 KiB costs less than a second system call
constexpr uint64_t kTurnBytesMax = 1 << 20;  // of one connection before others get their turn
constexpr Nanos kForGood{std::chrono::hours(24 * 365)};
constexpr Nanos kNow{std::chrono::microseconds(20)};  // what is due that soon goes at once
constexpr double kDripSeconds = 0.1;                  // between two drops of a text
// Neither HTTP nor TLS: 0xDE is no TLS record type, and no line ends in it.
constexpr std::string_view kJunk =
    "\xDE\xADjunk-from-a-fault-rule-0123456789-junk-from-a-fault-rule-0123\xBE\xEF";
// RFC 8446: alert(21), version 3.3, 2 bytes, fatal(2), handshake_failure(40).
constexpr std::string_view kAlert("\x15\x03\x03\x00\x02\x02\x28", 7);

Nanos stall_of(const FaultRule& fault) {
  return fault.ms > 0 ? Nanos(static_cast<int64_t>(fault.ms * 1e6)) : kForGood;
}

}  // namespace

// Where the fault will strike: in out_ (head, text) or in the object's body.
void Connection::arm_fault() {
  const Reply& reply = exchange_.reply;
  const FaultKind kind = reply.fault->kind;
  copied_ =
      kind == FaultKind::kFlip || kind == FaultKind::kScramble || kind == FaultKind::kReplaced;
  const bool strikes = kind == FaultKind::kReset || kind == FaultKind::kStall ||
                       kind == FaultKind::kTruncate || kind == FaultKind::kDrip ||
                       kind == FaultKind::kGarbage;
  if (!strikes) return;
  const uint64_t at = reply.fault->at_byte;
  const size_t head_size = out_.size() - (reply.object ? 0 : reply.text.size());
  if (reply.fault->where == "head") {
    out_limit_ = std::min<uint64_t>(at, head_size);
    out_armed_ = true;
  } else if (reply.object) {
    fault_at_ = body_begin_ + std::min(at, body_end_ - body_begin_);
    fault_armed_ = true;
  } else {
    out_limit_ = head_size + std::min<uint64_t>(at, reply.text.size());
    out_armed_ = true;
  }
}

// exchange_.reply is complete.
void Connection::begin_reply() {
  Reply& reply = exchange_.reply;
  step_ = Step::kSend;
  first_byte_ = {};
  out_.swap(reply.head);
  out_sent_ = 0;
  body_at_ = body_begin_ = reply.object ? reply.range.begin : 0;
  body_end_ = reply.object ? reply.range.end : 0;
  fault_armed_ = out_armed_ = copied_ = false;
  out_ += reply.text;
  if (reply.fault) arm_fault();
  const TimePoint start = arrived_ + reply.delay;
  const double rate = context_.state->options.weather.connection_bytes_per_s;
  pacer_.begin(rate, &context_.line, start);
  released_ = body_end_;
  if (exchange_.call.op != S3Op::kControl && (pacer_.paced() || fault_armed_)) {
    released_ = body_at_;
    return schedule_release();
  }
  if (reply.delay > Nanos::zero()) wait_until(start);
}

// Frees the next chunk of the body, now or by timer.
void Connection::schedule_release() {
  const TimePoint now = context_.loop->clock().now();
  const uint64_t limit = fault_armed_ ? fault_at_ : body_end_;
  const Pacer::Chunk chunk =
      pacer_.paced() ? pacer_.next(limit - released_, now)
                     : Pacer::Chunk{limit - released_, arrived_ + exchange_.reply.delay};
  released_ += chunk.bytes;
  if (chunk.when > now + kNow)
    wait_until(chunk.when);
  else
    step_ = Step::kSend;
}

Connection::Progress Connection::send_some() {
  if (first_byte_ == TimePoint{}) first_byte_ = context_.loop->clock().now();
  const Reply& reply = exchange_.reply;
  if (out_armed_) return send_to_fault();
  Progress progress = Progress::kDone;
  if (!reply.object) {
    progress = send_head_and_text();
  } else if (body_at_ < released_ || out_sent_ < out_.size()) {
    if (copied_ || tls_ ||
        (body_at_ == body_begin_ && released_ == body_end_ &&
         body_end_ - body_at_ <= kInlineBodyMax)) {
      progress = send_copied();
    } else {
      progress = reply.object->file_fd() >= 0 ? send_file() : send_pieces();
    }
  }
  if (progress != Progress::kDone) return progress;
  if (body_at_ < body_end_) return end_of_release();
  finish_reply();
  return Progress::kMore;
}

// All that was released is sent, and more is to come, or a fault strikes here.
Connection::Progress Connection::end_of_release() {
  if (fault_armed_ && body_at_ == fault_at_) {
    if (strike() == Progress::kBlocked) return Progress::kBlocked;
  }
  schedule_release();
  return Progress::kMore;
}

// Of head and text, up to where the fault strikes. A drip moves that place on, ten times a second.
Connection::Progress Connection::send_to_fault() {
  const size_t left = out_limit_ - out_sent_;
  if (left > 0) {
    const ssize_t n = send_bytes(out_.data() + out_sent_, left, 0);
    if (n > 0) out_sent_ += static_cast<size_t>(n);
    if (const Progress progress = after_send(n, left); progress != Progress::kDone) return progress;
  }
  const FaultRule& fault = *exchange_.reply.fault;
  if (fault.kind != FaultKind::kDrip) return strike();
  out_armed_ = out_limit_ < out_.size();
  if (!out_armed_) return Progress::kMore;
  out_limit_ += std::min(out_.size() - out_limit_,
                         static_cast<size_t>(std::max(1.0, fault.bytes_per_s * kDripSeconds)));
  wait_until(context_.loop->clock().now() + Nanos(static_cast<int64_t>(kDripSeconds * 1e9)));
  return Progress::kBlocked;
}

// kMore: the reply goes on. kBlocked: it is over, or waits.
Connection::Progress Connection::strike() {
  const FaultRule& fault = *exchange_.reply.fault;
  fault_armed_ = out_armed_ = false;
  const TimePoint now = context_.loop->clock().now();
  switch (fault.kind) {
    case FaultKind::kReset:
      reset_hard();
      return Progress::kBlocked;
    case FaultKind::kTruncate:
      record();
      half_close();
      return Progress::kBlocked;
    case FaultKind::kStall:
      wait_until(now + stall_of(fault));
      if (!pacer_.paced()) released_ = body_end_;
      return Progress::kBlocked;
    case FaultKind::kGarbage:
      (void)!::send(fd_, kJunk.data(), kJunk.size(), MSG_NOSIGNAL);
      return Progress::kMore;
    default:  // kDrip
      pacer_.begin(fault.bytes_per_s, &context_.line, now);
      return Progress::kMore;
  }
}

// Faults of op=Connect: before the first byte of the client was looked at. False = closed.
bool Connection::spoil_opening() {
  const ServerStats& stats = context_.state->stats;
  const TimePoint now = context_.loop->clock().now();
  const auto fault = context_.state->faults.next(
      {.op = kConnectOp,
       .seed = context_.state->options.weather.seed,
       .request_hash = stats.connections.load(std::memory_order_relaxed),
       .attempt = 1,
       .in_flight = static_cast<uint64_t>(std::max<int64_t>(stats.connections_open, 0)),
       .now = now});
  if (!fault) return true;
  context_.state->stats.faults.fetch_add(1, std::memory_order_relaxed);
  switch (fault->kind) {
    case FaultKind::kStall:
      wait_until(now + stall_of(*fault), step_);
      return true;
    case FaultKind::kReset:
      reset_hard();
      return false;
    case FaultKind::kGarbage:
      (void)!::send(fd_, kJunk.data(), kJunk.size(), MSG_NOSIGNAL);
      break;
    case FaultKind::kTlsAlert:
      (void)!::send(fd_, kAlert.data(), kAlert.size(), MSG_NOSIGNAL);
      break;
    default:  // kTruncate
      break;
  }
  half_close();
  return false;
}

Connection::Progress Connection::after_send(ssize_t sent, uint64_t wanted) {
  if (sent < 0) {
    if (errno == EAGAIN || errno == EINTR) return Progress::kBlocked;
    close();
    return Progress::kBlocked;
  }
  return static_cast<uint64_t>(sent) < wanted ? Progress::kBlocked : Progress::kDone;
}

Connection::Progress Connection::send_head_and_text() {
  const size_t left = out_.size() - out_sent_;
  const ssize_t n = send_bytes(out_.data() + out_sent_, left, 0);
  if (n > 0) out_sent_ += static_cast<size_t>(n);
  return after_send(n, left);
}

// Appends the next part of the body to out_ and sends from there.
Connection::Progress Connection::send_copied() {
  if (out_sent_ == out_.size() || body_at_ == body_begin_) {
    if (out_sent_ == out_.size()) out_.clear(), out_sent_ = 0;
    const uint64_t size = std::min<uint64_t>(released_ - body_at_, context_.body_chunk.size());
    const size_t at = out_.size();
    out_.resize(at + size);
    const Status status = exchange_.reply.object->read_at(
        body_at_, {reinterpret_cast<std::byte*>(out_.data()) + at, size});
    if (!status.ok()) return close(), Progress::kBlocked;
    if (copied_) {
      const FaultRule& fault = *exchange_.reply.fault;
      const uint64_t from = body_begin_ + fault.at_byte;
      const bool one = fault.kind == FaultKind::kFlip;
      const uint64_t until = one ? from + 1 : body_end_;
      for (uint64_t i = std::max(from, body_at_); i < std::min(until, body_at_ + size); ++i)
        out_[at + (i - body_at_)] ^= one ? 1 : -1;
    }
    body_at_ += size;
  }
  const Progress progress = send_head_and_text();
  return progress == Progress::kDone && body_at_ < released_ ? Progress::kMore : progress;
}

Connection::Progress Connection::send_file() {
  if (out_sent_ < out_.size()) {
    const size_t left = out_.size() - out_sent_;
    const int more = body_at_ < released_ ? MSG_MORE : 0;
    const ssize_t n = ::send(fd_, out_.data() + out_sent_, left, MSG_NOSIGNAL | more);
    if (n > 0) out_sent_ += static_cast<size_t>(n);
    if (const Progress progress = after_send(n, left); progress != Progress::kDone) return progress;
  }
  uint64_t turn = kTurnBytesMax;
  while (body_at_ < released_) {
    auto offset = static_cast<off_t>(body_at_);
    const uint64_t want = std::min(released_ - body_at_, turn);
    const ssize_t n = ::sendfile(fd_, exchange_.reply.object->file_fd(), &offset, want);
    if (n == 0)
      return close(),
             Progress::kBlocked;  // the file became shorter: a broken reply, never a wrong one
    if (n > 0) body_at_ += static_cast<uint64_t>(n);
    if (n < 0) return after_send(n, want);
    turn -= static_cast<uint64_t>(n);
    if (turn == 0 && body_at_ < released_) {
      wait_until(context_.loop->clock().now());
      return Progress::kBlocked;
    }
  }
  return Progress::kDone;
}

Connection::Progress Connection::send_pieces() {
  Pieces& pieces = context_.pieces;
  uint64_t turn = 0;
  while (body_at_ < released_ || out_sent_ < out_.size()) {
    if (turn >= kTurnBytesMax) {
      wait_until(context_.loop->clock().now());
      return Progress::kBlocked;
    }
    pieces.clear();
    if (body_at_ < released_)
      exchange_.reply.object->pieces(body_at_, std::min(released_ - body_at_, kTurnBytesMax),
                                     pieces);
    iovec iov[Pieces::kPiecesMax + 1];
    size_t count = 0;
    const size_t head = out_.size() - out_sent_;
    if (head > 0) iov[count++] = {out_.data() + out_sent_, head};
    for (size_t i = 0; i < pieces.count; ++i) iov[count++] = pieces.iov[i];
    msghdr message{};
    message.msg_iov = iov;
    message.msg_iovlen = count;
    const int more = body_at_ + pieces.bytes < released_ ? MSG_MORE : 0;
    const ssize_t n = ::sendmsg(fd_, &message, MSG_NOSIGNAL | more);
    if (n > 0) {
      const size_t of_head = std::min<size_t>(head, static_cast<size_t>(n));
      out_sent_ += of_head;
      body_at_ += static_cast<uint64_t>(n) - of_head;
      turn += static_cast<uint64_t>(n);
    }
    if (const Progress progress = after_send(n, head + pieces.bytes); progress != Progress::kDone)
      return progress;
  }
  return Progress::kDone;
}

void Connection::finish_reply() {
  record();
  context_.state->stats.leave();
  in_flight_ = false;
  const bool close_now = exchange_.reply.close;
  exchange_.reply.object.reset();
  if (!close_now) {
    reused_ = true;
    step_ = Step::kReadHead;
    return;
  }
  if (tls_) tls_->shutdown();
  half_close();
}

// FIN first: a reset for bytes that were never read must not overtake the reply. Under TLS without
// close_notify, unless it was sent before.
void Connection::half_close() {
  ::shutdown(fd_, SHUT_WR);
  while (::recv(fd_, context_.body_chunk.data(), context_.body_chunk.size(), MSG_DONTWAIT) > 0) {
  }
  close();
}

// RST instead of FIN, with whatever the kernel has not sent yet thrown away.
void Connection::reset_hard() {
  if (in_flight_) record();
  const linger off{1, 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &off, sizeof off);
  close();
}

}  // namespace headrace::serve
