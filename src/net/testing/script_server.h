// SPDX-License-Identifier: Apache-2.0
//
// For tests: a TCP server on 127.0.0.1 that does to each connection exactly what a script says
// (bytes, pauses, FIN, RST). A thread a connection, blocking calls; every read and wait ends after
// five seconds.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "net/http_transport.h"

namespace headrace::testing {

// The server's end of one connection.
class Peer {
 public:
  Peer(int fd, int number, const std::atomic<bool>& stopping)
      : fd_(fd), number_(number), stopping_(stopping) {}
  ~Peer() { ::close(fd_); }

  int fd() const { return fd_; }
  int number() const { return number_; }  // 0 = the first connection accepted

  // The next request head with its blank line; empty when the client left.
  std::string read_request() {
    for (;;) {
      if (const size_t end = buffer_.find("\r\n\r\n"); end != std::string::npos) {
        std::string head = buffer_.substr(0, end + 4);
        buffer_.erase(0, end + 4);
        return head;
      }
      char chunk[4096];
      if (!wait_readable()) return {};
      const ssize_t n = ::recv(fd_, chunk, sizeof chunk, 0);
      if (n <= 0) return {};
      buffer_.append(chunk, static_cast<size_t>(n));
    }
  }
  void send(std::string_view text) {
    while (!text.empty()) {
      const ssize_t n = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (n <= 0) return;
      text.remove_prefix(static_cast<size_t>(n));
    }
  }
  // `piece` every `gap_ms`, so often, or until the client closes.
  void drip(std::string_view piece, int gap_ms, int times) {
    pollfd wait{fd_, POLLRDHUP, 0};
    while (times-- > 0 && !stopping_ && ::poll(&wait, 1, gap_ms) == 0) send(piece);
  }
  // The script's end closes with FIN; after this call with RST.
  void reset_at_close() {
    const linger now{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  }
  // Until the client closes.
  void wait_closed() {
    char scratch[4096];
    while (wait_readable() && ::recv(fd_, scratch, sizeof scratch, 0) > 0) {
    }
  }

 private:
  bool wait_readable() {
    for (int waited_ms = 0; waited_ms < 5000 && !stopping_; waited_ms += 20) {
      pollfd wait{fd_, POLLIN, 0};
      if (::poll(&wait, 1, 20) > 0) return true;
    }
    return false;
  }
  int fd_;
  int number_;
  const std::atomic<bool>& stopping_;
  std::string buffer_;
};

class ScriptServer {
 public:
  explicit ScriptServer(std::function<void(Peer&)> script) : script_(std::move(script)) {
    listen_fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    HR_ASSERT(::bind(listen_fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    HR_ASSERT(::listen(listen_fd_, 128) == 0);
    socklen_t size = sizeof address;
    ::getsockname(listen_fd_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { accept_all(); });
  }
  ~ScriptServer() {
    stopping_ = true;
    acceptor_.join();
    for (std::thread& thread : threads_) thread.join();
    ::close(listen_fd_);
  }
  uint16_t port() const { return port_; }
  HttpEndpoint endpoint() const { return {.tls = false, .host = "127.0.0.1", .port = port_}; }
  int connections() const { return accepted_; }

 private:
  void accept_all() {
    while (!stopping_) {
      pollfd wait{listen_fd_, POLLIN, 0};
      if (::poll(&wait, 1, 10) <= 0) continue;
      const int fd = ::accept4(listen_fd_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) continue;
      const int number = accepted_++;
      threads_.emplace_back([this, fd, number] {
        Peer peer(fd, number, stopping_);
        script_(peer);
      });
    }
  }
  std::function<void(Peer&)> script_;
  int listen_fd_ = -1;
  uint16_t port_ = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<int> accepted_{0};
  std::vector<std::thread> threads_;
  std::thread acceptor_;
};

}  // namespace headrace::testing
