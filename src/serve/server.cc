// SPDX-License-Identifier: Apache-2.0
#include "serve/server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <future>

#include "net/event_loop.h"
#include "serve/connection.h"
#include "serve/s3_service.h"

namespace headrace::serve {
namespace {

// Accepts on one loop and owns that loop's connections. With several loops each has its own
// listening socket (SO_REUSEPORT): the kernel spreads the connections.
class LoopServer final : public FdHandler {
 public:
  LoopServer(ServerState& state, OwnedFd listener, uint32_t number)
      : state_(state),
        listener_(std::move(listener)),
        service_(state),
        loop_(("serve-" + std::to_string(number)).c_str()) {
    context_.state = &state;
    context_.loop = &loop_;
    context_.service = &service_;
    context_.line.bytes_per_s = state.options.weather.total_bytes_per_s / state.options.threads;
  }
  ~LoopServer() override { stop(); }

  Status start() {
    std::promise<Status> watched;
    loop_.post([&] {
      // sendfile has no MSG_NOSIGNAL: a client that has gone must not kill the program.
      sigset_t pipe;
      sigemptyset(&pipe);
      sigaddset(&pipe, SIGPIPE);
      pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
      watched.set_value(loop_.watch(listener_.get(), EPOLLIN, this));
    });
    return watched.get_future().get();
  }

  void stop() {
    if (stopped_) return;
    stopped_ = true;
    loop_.post([this] {
      loop_.unwatch(listener_.get(), this);
      for (auto& connection : connections_) connection->close();
    });
    loop_.stop();
    listener_ = OwnedFd();  // whoever waits in its queue is told
  }

  void on_events(uint32_t) override {
    // Several a wake-up, but not so many that running requests wait for a storm of new connections.
    for (int i = 0; i < 64; ++i) {
      const int fd = ::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) return;
      if (context_.idle.empty()) {
        if (connections_.size() >= state_.options.connections_max) {
          ::close(fd);
          continue;
        }
        connections_.push_back(std::make_unique<Connection>(context_));
        context_.idle.push_back(connections_.back().get());
      }
      Connection* connection = context_.idle.back();
      context_.idle.pop_back();
      connection->open(fd);
    }
  }

 private:
  ServerState& state_;
  OwnedFd listener_;
  S3Service service_;
  LoopContext context_;
  std::vector<std::unique_ptr<Connection>> connections_;
  bool stopped_ = false;
  EventLoop loop_;  // last: its thread uses all of the above
};

Result<OwnedFd> listen_on(const std::string& host, uint16_t port, bool shared, uint16_t& bound) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  const std::string where = host + ":" + std::to_string(port);
  if (::inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1) {
    return invalid_argument("listen on " + where +
                            ": the host must be an IPv4 address, such as 127.0.0.1 or 0.0.0.0");
  }
  OwnedFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int on = 1;
  if (fd.ok()) ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (fd.ok() && shared) ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
  socklen_t size = sizeof address;
  if (!fd.ok() || ::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(fd.get(), 4096) != 0 ||
      ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return unavailable("listen on " + where + ": " + std::strerror(errno));
  }
  bound = ntohs(address.sin_port);
  return fd;
}

class LoopbackS3Server final : public S3Server {
 public:
  ~LoopbackS3Server() override { stop(); }

  Status open(ServerOptions options) {
    state_.options = std::move(options);
    ServerOptions& o = state_.options;
    state_.clock = o.clock != nullptr ? o.clock : &SystemClock::instance();
    HR_TRY(check_weather(o.weather));
    HR_TRY_ASSIGN(state_.checksums.kind, ChecksumCache::kind_of(o.checksum));
    if (!o.anonymous && o.credentials.empty()) {
      return invalid_argument("start server: without credentials it can only be anonymous");
    }
    if (o.threads == 0 || o.threads > 64)
      return invalid_argument("start server: threads must be in [1, 64]");
    HR_TRY(open_folders());
    HR_TRY(open_tls());
    for (const FaultRule& rule : o.faults) HR_TRY(check_fault_rule(rule));
    state_.faults.set(o.faults, SystemClock::instance().now());
    if (!o.log_path.empty()) {
      HR_TRY_ASSIGN(state_.log, RequestLog::open(o.log_path));
    }
    port_ = o.port;
    for (uint32_t i = 0; i < o.threads; ++i) {
      HR_TRY_ASSIGN(OwnedFd listener, listen_on(o.host, port_, o.threads > 1, port_));
      loops_.push_back(std::make_unique<LoopServer>(state_, std::move(listener), i));
    }
    for (auto& loop : loops_) HR_TRY(loop->start());
    return {};
  }

  uint16_t port() const override { return port_; }
  std::string url() const override {
    return (state_.tls ? "https://" : "http://") + state_.options.host + ":" +
           std::to_string(port_);
  }
  void stop() override {
    for (auto& loop : loops_) loop->stop();
    flush_log();
  }
  void set_faults(std::vector<FaultRule> rules) override {
    state_.faults.set(std::move(rules), SystemClock::instance().now());
  }
  std::vector<FaultCount> fault_counts() const override { return state_.faults.counts(); }
  ServerStats& stats() override { return state_.stats; }
  void flush_log() override {
    if (state_.log) state_.log->flush();
  }

 private:
  static Result<std::shared_ptr<const OwnedFd>> open_folder(const std::string& path) {
    OwnedFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd.ok()) return file_error("open folder", path);
    return std::make_shared<const OwnedFd>(std::move(fd));
  }

  Status open_tls() {
    const ServerOptions& o = state_.options;
    if (!o.tls) return {};
    if (o.tls_certificate.empty() != o.tls_key.empty()) {
      return invalid_argument("start server: a certificate file and a key file come together");
    }
    if (o.tls_certificate.empty()) {
      HR_TRY_ASSIGN(state_.tls, TlsContext::self_signed_server(o.tls_certificate_out));
    } else {
      HR_TRY_ASSIGN(state_.tls, TlsContext::server(o.tls_certificate, o.tls_key));
    }
    return {};
  }

  Status open_folders() {
    const ServerOptions& o = state_.options;
    if (!o.root.empty()) {
      HR_TRY_ASSIGN(state_.root, open_folder(o.root));
    }
    for (const auto& [name, folder] : o.buckets) {
      HR_TRY_ASSIGN(std::shared_ptr<const OwnedFd> fd, open_folder(folder));
      state_.folders.emplace_back(name, std::move(fd));
    }
    for (const auto& [name, spec] : o.synthetic) {
      state_.synthetic.emplace_back(name, std::make_shared<const SyntheticData>(spec));
    }
    return {};
  }

  ServerState state_;
  uint16_t port_ = 0;
  std::vector<std::unique_ptr<LoopServer>> loops_;
};

}  // namespace

Result<std::unique_ptr<S3Server>> S3Server::start(ServerOptions options) {
  auto server = std::make_unique<LoopbackS3Server>();
  HR_TRY(server->open(std::move(options)));
  return std::unique_ptr<S3Server>(std::move(server));
}

}  // namespace headrace::serve
