// SPDX-License-Identifier: Apache-2.0
//
// For tests only: a blocking HTTP client on a raw socket that shows what really came over the wire,
// and a folder that removes itself.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace headrace::serve {

class TestFolder {
 public:
  TestFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "headrace-serve-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~TestFolder() { std::filesystem::remove_all(path_); }
  std::string path(const std::string& below = "") const {
    return below.empty() ? path_ : path_ + "/" + below;
  }
  void write(const std::string& below, const std::string& content) const {
    std::filesystem::create_directories(std::filesystem::path(path(below)).parent_path());
    std::ofstream(path(below), std::ios::binary) << content;
  }

 private:
  std::string path_;
};

struct TestReply {
  int status = 0;
  std::string head, body;
  bool complete = false;  // as many body bytes as Content-Length says
  bool reset = false;     // ended by RST
  std::string header(const std::string& name) const {
    const size_t at = head.find("\r\n" + name + ": ");
    if (at == std::string::npos) return {};
    const size_t begin = at + name.size() + 4;
    return head.substr(begin, head.find("\r\n", begin) - begin);
  }
};

class TestClient {
 public:
  explicit TestClient(uint16_t port) {
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    const timeval limit{5, 0};  // a test that hangs fails instead
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  }
  ~TestClient() { ::close(fd_); }
  int fd() const { return fd_; }

  void send(const std::string& bytes) {
    EXPECT_EQ(::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL), ssize_t(bytes.size()));
  }
  // One whole reply; bodiless = to HEAD.
  TestReply receive(bool bodiless = false) {
    TestReply reply;
    size_t end;
    while ((end = in_.find("\r\n\r\n")) == std::string::npos) {
      if (!more(reply)) return reply;
    }
    reply.head = in_.substr(0, end + 2);
    in_.erase(0, end + 4);
    reply.status = std::atoi(reply.head.c_str() + 9);
    const std::string length = reply.header("Content-Length");
    const size_t want = bodiless || length.empty() ? 0 : std::stoull(length);
    while (in_.size() < want) {
      if (!more(reply)) break;
    }
    reply.body = in_.substr(0, want);
    in_.erase(0, want);
    reply.complete = reply.body.size() == want;
    return reply;
  }
  TestReply request(const std::string& method, const std::string& target,
                    const std::string& headers = "", const std::string& body = "") {
    std::string text = method + " " + target + " HTTP/1.1\r\nHost: localhost\r\n" + headers;
    if (!body.empty() || method == "PUT" || method == "POST")
      text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
    send(text + "\r\n" + body);
    return receive(method == "HEAD");
  }
  // True when the server has closed, after at most the receive time limit.
  bool closed() {
    char byte;
    const ssize_t n = ::recv(fd_, &byte, 1, 0);
    return in_.empty() && (n == 0 || (n < 0 && errno != EAGAIN));  // at an end errno is not set
  }

 private:
  bool more(TestReply& reply) {
    char chunk[65536];
    const ssize_t n = ::recv(fd_, chunk, sizeof chunk, 0);
    if (n > 0) in_.append(chunk, static_cast<size_t>(n));
    reply.reset = n < 0 && errno == ECONNRESET;
    return n > 0;
  }
  int fd_;
  std::string in_;
};

inline TestReply get_once(uint16_t port, const std::string& target,
                          const std::string& headers = "") {
  return TestClient(port).request("GET", target, headers);
}

}  // namespace headrace::serve
