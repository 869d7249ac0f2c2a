// SPDX-License-Identifier: Apache-2.0
//
// What the tests of EpollTransport share: a client with its loop, requests, replies and destinations.
#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "net/epoll_transport.h"
#include "net/testing/script_server.h"
#include "net/testing/waiting_client.h"

namespace headrace::testing {

inline std::string reply(std::string_view body, std::string_view more = "") {
  return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" +
         std::string(more) + "\r\n" + std::string(body);
}

inline std::string pattern(size_t size) {
  std::string text(size, 0);
  for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + (i * 31 + i / 251) % 26);
  return text;
}

// Answers every request with `body` until the client leaves.
inline std::function<void(Peer&)> always(std::string answer) {
  return [answer = std::move(answer)](Peer& peer) {
    while (!peer.read_request().empty()) peer.send(answer);
  };
}

class FakeResolver final : public Resolver {
 public:
  explicit FakeResolver(Resolved answer) : answer_(std::move(answer)) {}
  void resolve(const std::string&, uint16_t, UniqueFunction<void(Resolved)> done) override {
    ++asked;
    done(answer_);
  }
  std::atomic<int> asked{0};

 private:
  Resolved answer_;
};

struct Client {
  explicit Client(TransportLimits limits = {}, std::shared_ptr<Resolver> resolver = nullptr)
      : transport(loop, resolver ? std::move(resolver) : std::make_shared<SystemResolver>(),
                  limits) {}
  EventLoop loop{"net-test"};
  EpollTransport transport;
};

inline HttpRequest get(const ScriptServer& server, std::string target = "/") {
  HttpRequest request;
  request.endpoint = server.endpoint();
  request.target = std::move(target);
  return request;
}

// A destination in three unequal pieces with guard bytes around each.
struct Scatter {
  explicit Scatter(size_t size) : memory(size + 4, '#') {
    const size_t a = size / 3, b = size / 2;
    auto* base = reinterpret_cast<std::byte*>(memory.data());
    pieces = {{base + 1, a}, {base + 2 + a, b - a}, {base + 3 + b, size - b}};
  }
  std::string content() const {
    std::string all;
    for (MutableBytes piece : pieces) all += as_text(piece);
    return all;
  }
  bool guards_intact() const { return std::ranges::count(memory, '#') == 4; }
  std::string memory;
  std::vector<MutableBytes> pieces;
};

}  // namespace headrace::testing
