// SPDX-License-Identifier: Apache-2.0
//
// Names to addresses, never on a loop's thread: getaddrinfo blocks for as long as the name server
// likes. Which address of a name is tried first, and which is avoided, is the transport's business.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "base/unique_function.h"
#include "sys/clock.h"

namespace headrace {

struct SocketAddress {
  union {
    sockaddr any;
    sockaddr_in v4;
    sockaddr_in6 v6;
  };
  SocketAddress() : v6{} {}

  // A literal IPv4 or IPv6 address (no brackets), or nullopt.
  static std::optional<SocketAddress> parse(const std::string& literal, uint16_t port);
  socklen_t size() const { return any.sa_family == AF_INET6 ? sizeof v6 : sizeof v4; }
  std::string text() const;  // "127.0.0.1:9000", "[::1]:9000"
  friend bool operator==(const SocketAddress& a, const SocketAddress& b) {
    return a.text() == b.text();
  }
};

using Resolved =
    Result<std::vector<SocketAddress>>;  // in the system's order of preference, not empty

class Resolver {
 public:
  virtual ~Resolver() = default;
  // `done` runs exactly once, on any thread, possibly inside the call.
  virtual void resolve(const std::string& host, uint16_t port,
                       UniqueFunction<void(Resolved)> done) = 0;
};

// getaddrinfo on one thread of its own; good answers are kept for 30 s, questions for one name are
// asked once.
class SystemResolver final : public Resolver {
 public:
  // S3's names live for seconds and answer with other addresses each time; 30 s spreads load and
  // still spares the name server during a burst of connections.
  static constexpr Nanos kKeepFor = std::chrono::seconds(30);
  using Lookup = UniqueFunction<Resolved(const std::string& host, uint16_t port)>;

  explicit SystemResolver(const Clock& clock = SystemClock::instance(), Lookup lookup = nullptr);
  ~SystemResolver() override;  // waits for the question under way; the others end with kCancelled
  void resolve(const std::string& host, uint16_t port,
               UniqueFunction<void(Resolved)> done) override;

 private:
  using Key = std::pair<std::string, uint16_t>;
  struct Answer {
    std::vector<SocketAddress> addresses;
    TimePoint until;
  };
  void run();

  const Clock& clock_;
  Lookup lookup_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::map<Key, Answer> answers_;
  std::map<Key, std::vector<UniqueFunction<void(Resolved)>>> waiting_;
  std::deque<Key> questions_;
  bool stopping_ = false;
  std::thread thread_;  // started by the first question
};

}  // namespace headrace
