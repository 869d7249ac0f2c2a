// SPDX-License-Identifier: Apache-2.0
//
// The wall: a bare epoll client, one thread, that GETs ranges over keep-alive connections and does
// nothing else. It believes what the server says, has no timeouts and no retries; with --tls it is
// a bare OpenSSL client that trusts any certificate. No client on this machine gets far beyond it,
// so the transport and the loader are measured against it, in the same run.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "get_bench.h"

namespace {

using get_bench::Options;
using get_bench::Range;
using get_bench::Report;
using get_bench::Ring;

struct Connection {
  int fd = -1;
  SSL* ssl = nullptr;
  const Range* range = nullptr;
  char* place = nullptr;
  uint64_t got = 0;  // body bytes
  bool in_body = false;
  char head[4096];
  size_t head_bytes = 0;
};

class Wall {
 public:
  explicit Wall(const Options& options)
      : options_(options), ranges_(get_bench::ranges_of(options)), ring_(options.ring_bytes) {}

  int run() {
    epoll_ = ::epoll_create1(0);
    if (options_.tls) {
      tls_ = SSL_CTX_new(TLS_client_method());
      SSL_CTX_set_ciphersuites(tls_, "TLS_AES_128_GCM_SHA256");
    }
    std::vector<Connection> connections(static_cast<size_t>(options_.connections));
    report_.start();
    for (Connection& connection : connections) {
      open(connection);
      next(connection);
    }
    while (report_.finished() < ranges_.size()) {
      epoll_event events[256];
      const int n = ::epoll_wait(epoll_, events, 256, -1);
      for (int i = 0; i < n; ++i) read_all(*static_cast<Connection*>(events[i].data.ptr));
    }
    return report_.print("wall", options_);
  }

 private:
  void open(Connection& connection) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(options_.port);
    ::inet_pton(AF_INET, options_.host.c_str(), &address.sin_addr);
    connection.fd = ::socket(AF_INET, SOCK_STREAM, 0);
    if (::connect(connection.fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
      fail("connect");
    const int on = 1;
    ::setsockopt(connection.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (tls_ != nullptr) {
      connection.ssl = SSL_new(tls_);
      SSL_set_fd(connection.ssl, connection.fd);
      if (SSL_connect(connection.ssl) != 1) fail("TLS handshake");
    }
    ::fcntl(connection.fd, F_SETFL, O_NONBLOCK);
    epoll_event event{};
    event.events = EPOLLIN | EPOLLET;
    event.data.ptr = &connection;
    ::epoll_ctl(epoll_, EPOLL_CTL_ADD, connection.fd, &event);
  }

  void next(Connection& connection) {
    if (next_ == ranges_.size()) return;
    const Range& range = ranges_[next_++];
    connection.range = &range;
    connection.place = ring_.take(range.end - range.begin);
    connection.got = connection.head_bytes = 0;
    connection.in_body = false;
    char request[1024];
    const int n = std::snprintf(
        request, sizeof request, "GET %s HTTP/1.1\r\nhost: %s\r\nrange: bytes=%llu-%llu\r\n\r\n",
        range.path.c_str(), options_.host.c_str(), static_cast<unsigned long long>(range.begin),
        static_cast<unsigned long long>(range.end - 1));
    const ssize_t sent = connection.ssl != nullptr
                             ? SSL_write(connection.ssl, request, n)
                             : ::send(connection.fd, request, static_cast<size_t>(n), MSG_NOSIGNAL);
    if (sent != n) fail("send");
  }

  // As recv().
  static ssize_t receive(Connection& c, char* into, size_t size) {
    if (c.ssl == nullptr) return ::recv(c.fd, into, size, 0);
    const int n = SSL_read(c.ssl, into, static_cast<int>(size));
    if (n > 0) return n;
    errno = SSL_get_error(c.ssl, n) == SSL_ERROR_WANT_READ ? EAGAIN : EPROTO;
    return -1;
  }

  // Edge-triggered: until the socket is empty or the body is complete.
  void read_all(Connection& c) {
    while (c.range != nullptr) {
      const uint64_t size = c.range->end - c.range->begin;
      char* into = c.in_body ? c.place + c.got : c.head + c.head_bytes;
      const size_t asked = c.in_body ? size - c.got : sizeof c.head - c.head_bytes;
      const ssize_t n = receive(c, into, asked);
      if (n < 0 && errno == EAGAIN) return;
      if (n <= 0) fail("recv");
      if (c.in_body)
        c.got += static_cast<uint64_t>(n);
      else
        take_head(c, static_cast<size_t>(n));
      if (c.in_body && c.got == size) {
        report_.one_done(size);
        c.range = nullptr;
        return next(c);
      }
      if (static_cast<size_t>(n) < asked && c.ssl == nullptr) return;  // a record's end is no end of the socket's
    }
  }

  void take_head(Connection& c, size_t n) {
    c.head_bytes += n;
    const std::string_view head(c.head, c.head_bytes);
    const size_t end = head.find("\r\n\r\n");
    if (end == std::string_view::npos) return;
    if (!head.starts_with("HTTP/1.1 20")) fail("a reply that is not 2xx");
    c.in_body = true;
    c.got = c.head_bytes - end - 4;
    std::memcpy(c.place, c.head + end + 4, c.got);
  }

  [[noreturn]] static void fail(const char* what) {
    std::fprintf(stderr, "bench_wall: %s: %s\n", what, std::strerror(errno));
    std::exit(1);
  }

  const Options options_;
  const std::vector<Range> ranges_;
  Ring ring_;
  Report report_;
  size_t next_ = 0;
  int epoll_ = -1;
  SSL_CTX* tls_ = nullptr;
};

}  // namespace

int main(int argc, char** argv) { return Wall(get_bench::parse(argc, argv)).run(); }
