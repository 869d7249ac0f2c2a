// SPDX-License-Identifier: Apache-2.0
//
// The other side of the wall: a bare epoll server, one thread, that answers every GET with a Range
// by 206 and that many bytes of a small hot buffer. It reads nothing but the range. It exists so
// that a client is measured and not a server. usage: bench_wall_server PORT
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr size_t kHotBytes =
    256 << 10;  // stays in the L2 cache: what is measured is the client's memory
std::vector<char> hot(kHotBytes, 'x');

struct Connection {
  int fd;
  std::string request;
  std::string head;  // not sent yet
  uint64_t body_left = 0;
};

void answer(Connection& c) {
  const size_t at = c.request.find("range: bytes=");
  unsigned long long begin = 0, last = 0;
  if (at != std::string::npos)
    std::sscanf(c.request.c_str() + at, "range: bytes=%llu-%llu", &begin, &last);
  c.body_left = last - begin + 1;
  char head[512];
  const int n = std::snprintf(
      head, sizeof head,
      "HTTP/1.1 206 Partial Content\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nETag: "
      "\"0123456789abcdef\"\r\n"
      "Accept-Ranges: bytes\r\nx-amz-request-id: 0123456789ABCDEF\r\nContent-Range: bytes "
      "%llu-%llu/%llu\r\n"
      "Content-Type: binary/octet-stream\r\nContent-Length: %llu\r\nServer: wall\r\n\r\n",
      begin, last, 1ull << 40, static_cast<unsigned long long>(c.body_left));
  c.head.assign(head, static_cast<size_t>(n));
  c.request.clear();
}

void write_all(Connection& c) {
  while (!c.head.empty() || c.body_left != 0) {
    iovec pieces[3] = {
        {c.head.data(), c.head.size()},
        {hot.data(), std::min<uint64_t>(c.body_left, kHotBytes)},
        {hot.data(),
         std::min<uint64_t>(c.body_left - std::min<uint64_t>(c.body_left, kHotBytes), kHotBytes)}};
    msghdr message{};
    message.msg_iov = pieces;
    message.msg_iovlen = 3;
    const ssize_t n = ::sendmsg(c.fd, &message, MSG_NOSIGNAL);
    if (n < 0) return;
    const auto head_part = std::min<size_t>(static_cast<size_t>(n), c.head.size());
    c.head.erase(0, head_part);
    c.body_left -= static_cast<size_t>(n) - head_part;
  }
}

bool serve(Connection& c) {
  char chunk[8192];
  for (;;) {
    const ssize_t n = ::recv(c.fd, chunk, sizeof chunk, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN)) return false;
    if (n > 0) c.request.append(chunk, static_cast<size_t>(n));
    if (c.request.ends_with("\r\n\r\n")) answer(c);
    if (n < static_cast<ssize_t>(sizeof chunk)) break;
  }
  write_all(c);
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  const int on = 1;
  ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(argc > 1 ? std::atoi(argv[1]) : 9000));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(listener, 4096) != 0) {
    std::perror("bench_wall_server: listen");
    return 1;
  }
  const int epoll = ::epoll_create1(0);
  epoll_event event{};
  event.events = EPOLLIN;
  ::epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
  for (;;) {
    epoll_event events[256];
    const int n = ::epoll_wait(epoll, events, 256, -1);
    for (int i = 0; i < n; ++i) {
      if (events[i].data.ptr == nullptr) {
        for (int fd; (fd = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK)) >= 0;) {
          ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
          event.events = EPOLLIN | EPOLLOUT | EPOLLET;
          event.data.ptr = new Connection{fd, {}, {}, 0};
          ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
        }
        continue;
      }
      auto* connection = static_cast<Connection*>(events[i].data.ptr);
      if (serve(*connection)) continue;
      ::close(connection->fd);
      delete connection;
    }
  }
}
