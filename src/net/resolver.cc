// SPDX-License-Identifier: Apache-2.0
#include "net/resolver.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <pthread.h>

#include <cerrno>
#include <cstring>

namespace headrace {
namespace {

constexpr size_t kAnswersKeptMax = 1024;  // names; a program talks to a handful

Status resolve_error(const std::string& host, int code) {
  const std::string cause = code == EAI_SYSTEM ? std::strerror(errno) : ::gai_strerror(code);
  return unavailable("resolve host name " + host + ": DNS: " + cause + "; is the endpoint right?");
}

Resolved ask_system(const std::string& host, uint16_t port) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_ADDRCONFIG;
  addrinfo* list = nullptr;
  int code = ::getaddrinfo(host.c_str(), nullptr, &hints, &list);
  if (code == EAI_NONAME || code == EAI_BADFLAGS) {
    // A host with nothing but loopback has no "configured" address family: ask again without the
    // filter.
    hints.ai_flags = 0;
    code = ::getaddrinfo(host.c_str(), nullptr, &hints, &list);
  }
  if (code != 0) return resolve_error(host, code);
  std::vector<SocketAddress> addresses;
  for (const addrinfo* item = list; item != nullptr; item = item->ai_next) {
    SocketAddress address;
    if (item->ai_family == AF_INET) {
      std::memcpy(&address.v4, item->ai_addr, sizeof address.v4);
      address.v4.sin_port = htons(port);
    } else if (item->ai_family == AF_INET6) {
      std::memcpy(&address.v6, item->ai_addr, sizeof address.v6);
      address.v6.sin6_port = htons(port);
    } else {
      continue;
    }
    addresses.push_back(address);
  }
  ::freeaddrinfo(list);
  if (addresses.empty())
    return unavailable("resolve host name " + host + ": DNS: no IPv4 or IPv6 address");
  return addresses;
}

}  // namespace

std::optional<SocketAddress> SocketAddress::parse(const std::string& literal, uint16_t port) {
  SocketAddress address;
  if (::inet_pton(AF_INET, literal.c_str(), &address.v4.sin_addr) == 1) {
    address.v4.sin_family = AF_INET;
    address.v4.sin_port = htons(port);
    return address;
  }
  address = {};
  if (::inet_pton(AF_INET6, literal.c_str(), &address.v6.sin6_addr) == 1) {
    address.v6.sin6_family = AF_INET6;
    address.v6.sin6_port = htons(port);
    return address;
  }
  return std::nullopt;
}

std::string SocketAddress::text() const {
  char buffer[INET6_ADDRSTRLEN] = {};
  if (any.sa_family == AF_INET) {
    ::inet_ntop(AF_INET, &v4.sin_addr, buffer, sizeof buffer);
    return std::string(buffer) + ":" + std::to_string(ntohs(v4.sin_port));
  }
  ::inet_ntop(AF_INET6, &v6.sin6_addr, buffer, sizeof buffer);
  return std::string("[").append(buffer).append("]:").append(std::to_string(ntohs(v6.sin6_port)));
}

SystemResolver::SystemResolver(const Clock& clock, Lookup lookup)
    : clock_(clock), lookup_(lookup ? std::move(lookup) : Lookup(ask_system)) {}

SystemResolver::~SystemResolver() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
  for (auto& [key, waiters] : waiting_) {
    for (auto& done : waiters) done(cancelled("resolve host name " + key.first + ": stopped"));
  }
}

void SystemResolver::resolve(const std::string& host, uint16_t port,
                             UniqueFunction<void(Resolved)> done) {
  if (const auto literal = SocketAddress::parse(host, port)) return done(std::vector{*literal});
  const Key key{host, port};
  std::vector<SocketAddress> known;
  {
    std::lock_guard lock(mutex_);
    const auto answer = answers_.find(key);
    if (answer != answers_.end() && clock_.now() < answer->second.until) {
      known = answer->second.addresses;
    } else {
      auto& waiters = waiting_[key];
      waiters.push_back(std::move(done));
      if (waiters.size() == 1) questions_.push_back(key);
      if (!thread_.joinable()) {
        thread_ = std::thread([this] { run(); });
        pthread_setname_np(thread_.native_handle(), "hr-resolver");
      }
    }
  }
  if (!known.empty()) return done(std::move(known));
  wake_.notify_one();
}

void SystemResolver::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stopping_ || !questions_.empty(); });
    if (stopping_) return;
    const Key key = questions_.front();
    questions_.pop_front();
    lock.unlock();
    const Resolved resolved = lookup_(key.first, key.second);
    lock.lock();
    if (resolved.ok()) {
      if (answers_.size() >= kAnswersKeptMax) answers_.clear();
      answers_[key] = {*resolved, clock_.now() + kKeepFor};
    }
    auto waiters = std::move(waiting_[key]);
    waiting_.erase(key);
    lock.unlock();
    for (auto& done : waiters) done(resolved);
    lock.lock();
  }
}

}  // namespace headrace
