// SPDX-License-Identifier: Apache-2.0
//
// The wall once more with io_uring instead of epoll: the same ranges, destinations and JSON as bench_wall, plain HTTP.
// Each connection sends with one entry and receives the head and then, MSG_WAITALL, the whole body: the kernel waits
// for it and reports once, and one io_uring_enter serves all connections that have something. A spike: it answers
// whether the transport should move to io_uring (docs/decisions/003-epoll-or-io-uring.md). No liburing: the rings are
// mapped by hand.
#include <arpa/inet.h>
#include <linux/io_uring.h>
#include <netinet/tcp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <bit>
#include <cerrno>

#include "get_bench.h"

namespace {

[[noreturn]] void fail(const char* what, int error) {
  std::fprintf(stderr, "bench_uring_wall: %s: %s\n", what, std::strerror(error));
  std::exit(1);
}

// Submission and completion queue of one thread.
class Uring {
 public:
  explicit Uring(unsigned entries) {
    io_uring_params params{};
    params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE;
    params.cq_entries = 4 * entries;
    fd_ = static_cast<int>(::syscall(__NR_io_uring_setup, entries, &params));
    if (fd_ < 0) fail("io_uring_setup (not allowed here?)", errno);
    auto* sq = map(params.sq_off.array + params.sq_entries * sizeof(unsigned), IORING_OFF_SQ_RING);
    auto* cq = map(params.cq_off.cqes + params.cq_entries * sizeof(io_uring_cqe), IORING_OFF_CQ_RING);
    sqes_ = reinterpret_cast<io_uring_sqe*>(map(params.sq_entries * sizeof(io_uring_sqe), IORING_OFF_SQES));
    sq_tail_ = reinterpret_cast<unsigned*>(sq + params.sq_off.tail);
    sq_mask_ = *reinterpret_cast<unsigned*>(sq + params.sq_off.ring_mask);
    sq_array_ = reinterpret_cast<unsigned*>(sq + params.sq_off.array);
    cq_head_ = reinterpret_cast<unsigned*>(cq + params.cq_off.head);
    cq_tail_ = reinterpret_cast<unsigned*>(cq + params.cq_off.tail);
    cq_mask_ = *reinterpret_cast<unsigned*>(cq + params.cq_off.ring_mask);
    cqes_ = reinterpret_cast<io_uring_cqe*>(cq + params.cq_off.cqes);
  }

  void push(uint8_t op, int fd, void* at, size_t size, uint64_t user, uint32_t message_flags) {
    const unsigned tail = *sq_tail_;
    io_uring_sqe& sqe = sqes_[tail & sq_mask_];
    std::memset(&sqe, 0, sizeof sqe);
    sqe.opcode = op;
    sqe.fd = fd;
    sqe.addr = reinterpret_cast<uint64_t>(at);
    sqe.len = static_cast<uint32_t>(size);
    sqe.msg_flags = message_flags;
    sqe.user_data = user;
    sq_array_[tail & sq_mask_] = tail & sq_mask_;
    std::atomic_ref(*sq_tail_).store(tail + 1, std::memory_order_release);
    if (++queued_ == sq_mask_ + 1) enter(0);
  }

  // Sends what is queued and waits for an event.
  void enter(unsigned wait_for) {
    const long n = ::syscall(__NR_io_uring_enter, fd_, queued_, wait_for, IORING_ENTER_GETEVENTS, nullptr, 0);
    if (n < 0 && errno != EINTR) fail("io_uring_enter", errno);
    if (n > 0) queued_ -= static_cast<unsigned>(n);
  }

  template <class Take>
  void drain(Take take) {
    unsigned head = *cq_head_;
    const unsigned tail = std::atomic_ref(*cq_tail_).load(std::memory_order_acquire);
    for (; head != tail; ++head) {
      const io_uring_cqe event = cqes_[head & cq_mask_];
      take(event.user_data, event.res);
    }
    std::atomic_ref(*cq_head_).store(head, std::memory_order_release);
  }

 private:
  char* map(size_t size, uint64_t offset) {
    void* at = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd_,
                      static_cast<off_t>(offset));
    if (at == MAP_FAILED) fail("map a ring", errno);
    return static_cast<char*>(at);
  }

  int fd_ = -1;
  io_uring_sqe* sqes_;
  unsigned *sq_tail_, *sq_array_, *cq_head_, *cq_tail_;
  unsigned sq_mask_, cq_mask_;
  io_uring_cqe* cqes_;
  unsigned queued_ = 0;
};

struct Connection {
  int fd = -1;
  const get_bench::Range* range = nullptr;
  char* place = nullptr;
  uint64_t got = 0;  // body bytes
  bool in_body = false;
  char request[1024];
  char head[4096];
  size_t head_bytes = 0;
};

class UringWall {
 public:
  explicit UringWall(const get_bench::Options& options)
      : options_(options),
        ranges_(get_bench::ranges_of(options)),
        memory_(options.ring_bytes),
        ring_(std::bit_ceil(2u * static_cast<unsigned>(options.connections))) {}

  int run() {
    connections_.resize(static_cast<size_t>(options_.connections));
    report_.start();
    for (size_t i = 0; i < connections_.size(); ++i) {
      open(connections_[i]);
      next(i);
    }
    while (report_.finished() < ranges_.size()) {
      ring_.enter(1);
      ring_.drain([this](uint64_t user, int result) { on_event(user, result); });
    }
    return report_.print("uring wall", options_);
  }

 private:
  static constexpr uint64_t kSend = uint64_t{1} << 32;

  void open(Connection& c) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(options_.port);
    ::inet_pton(AF_INET, options_.host.c_str(), &address.sin_addr);
    c.fd = ::socket(AF_INET, SOCK_STREAM, 0);
    if (::connect(c.fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) fail("connect", errno);
    const int on = 1;
    ::setsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }

  void next(size_t i) {
    if (next_ == ranges_.size()) return;
    Connection& c = connections_[i];
    c.range = &ranges_[next_++];
    c.place = memory_.take(c.range->end - c.range->begin);
    c.got = c.head_bytes = 0;
    c.in_body = false;
    const int n = std::snprintf(c.request, sizeof c.request,
                                "GET %s HTTP/1.1\r\nhost: %s\r\nrange: bytes=%llu-%llu\r\n\r\n", c.range->path.c_str(),
                                options_.host.c_str(), static_cast<unsigned long long>(c.range->begin),
                                static_cast<unsigned long long>(c.range->end - 1));
    ring_.push(IORING_OP_SEND, c.fd, c.request, static_cast<size_t>(n), i | kSend, MSG_NOSIGNAL);
    ring_.push(IORING_OP_RECV, c.fd, c.head, sizeof c.head, i, 0);
  }

  void on_event(uint64_t user, int result) {
    if (result <= 0) fail((user & kSend) != 0 ? "send" : "receive", result == 0 ? ECONNRESET : -result);
    if ((user & kSend) != 0) return;
    Connection& c = connections_[user];
    if (c.in_body) {
      c.got += static_cast<uint64_t>(result);
    } else {
      take_head(c, static_cast<size_t>(result));
    }
    const uint64_t size = c.range->end - c.range->begin;
    if (c.in_body && c.got == size) {
      report_.one_done(size);
      return next(user);
    }
    char* into = c.in_body ? c.place + c.got : c.head + c.head_bytes;
    const size_t room = c.in_body ? size - c.got : sizeof c.head - c.head_bytes;
    ring_.push(IORING_OP_RECV, c.fd, into, room, user, c.in_body ? MSG_WAITALL : 0);
  }

  void take_head(Connection& c, size_t n) {
    c.head_bytes += n;
    const std::string_view head(c.head, c.head_bytes);
    const size_t end = head.find("\r\n\r\n");
    if (end == std::string_view::npos) return;
    if (!head.starts_with("HTTP/1.1 20")) fail("a reply that is not 2xx", EPROTO);
    c.in_body = true;
    c.got = c.head_bytes - end - 4;
    std::memcpy(c.place, c.head + end + 4, c.got);
  }

  const get_bench::Options options_;
  const std::vector<get_bench::Range> ranges_;
  get_bench::Ring memory_;
  get_bench::Report report_;
  std::vector<Connection> connections_;
  Uring ring_;
  size_t next_ = 0;
};

}  // namespace

int main(int argc, char** argv) { return UringWall(get_bench::parse(argc, argv)).run(); }
