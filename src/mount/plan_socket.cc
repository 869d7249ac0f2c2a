// SPDX-License-Identifier: Apache-2.0
#include "mount/plan_socket.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <random>

#include "mount/names.h"

namespace headrace::mount {
namespace {

constexpr std::string_view kGreeting = "headrace-plan 1\n";
constexpr size_t kClientsMax = 64;
constexpr size_t kReceiveBytes = 64 << 10;

// Whole greeting, or the client is not one of ours.
bool greeted(int socket) {
  std::string got(kGreeting.size(), '\0');
  return ::recv(socket, got.data(), got.size(), MSG_WAITALL) == static_cast<ssize_t>(got.size()) && got == kGreeting;
}

}  // namespace

std::string default_plan_socket() {
  const char* folder = std::getenv("XDG_RUNTIME_DIR");
  return std::string(folder != nullptr && *folder != '\0' ? folder : "/tmp") + "/headrace-plan-" +
         std::to_string(::getpid()) + "-" + std::to_string(std::random_device()() % 1'000'000) + ".sock";
}

Result<std::unique_ptr<PlanSocket>> PlanSocket::listen(Plan& plan, const std::string& path, bool others) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return invalid_argument("listen at --plan-socket " + path + ": longer than " +
                            std::to_string(sizeof address.sun_path - 1) + " bytes");
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const bool bound = socket >= 0 && ::bind(socket, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  if (!bound || ::chmod(path.c_str(), others ? 0666 : 0600) != 0 || ::listen(socket, kClientsMax) != 0) {
    const int error = errno;
    if (socket >= 0) ::close(socket);
    if (bound) ::unlink(path.c_str());
    return unavailable("listen at --plan-socket " + path + ": " + std::strerror(error));
  }
  return std::unique_ptr<PlanSocket>(new PlanSocket(plan, path, socket, ::eventfd(0, EFD_CLOEXEC)));
}

PlanSocket::PlanSocket(Plan& plan, std::string path, int socket, int stop)
    : plan_(plan), path_(std::move(path)), socket_(socket), stop_(stop), thread_([this] { accept_clients(); }) {}

PlanSocket::~PlanSocket() {
  const uint64_t one = 1;
  static_cast<void>(!::write(stop_, &one, sizeof one));
  plan_.close();  // who waits in add() goes on
  thread_.join();
  ::close(socket_);
  ::close(stop_);
  ::unlink(path_.c_str());
}

void PlanSocket::accept_clients() {
  for (;;) {
    pollfd both[] = {{socket_, POLLIN, 0}, {stop_, POLLIN, 0}};
    if (::poll(both, 2, -1) < 0 && errno != EINTR) break;
    if (both[1].revents != 0) break;
    reap(false);
    const int socket = both[0].revents != 0 ? ::accept4(socket_, nullptr, nullptr, SOCK_CLOEXEC) : -1;
    if (socket < 0) continue;
    if (clients_.size() >= kClientsMax) {
      ::close(socket);
      continue;
    }
    Client& client = clients_.emplace_back();
    client.socket = socket;
    client.thread = std::thread([this, &client] { serve(client); });
  }
  reap(true);
}

// Joins the threads of clients that are gone; `all`: makes them go.
void PlanSocket::reap(bool all) {
  for (auto client = clients_.begin(); client != clients_.end();) {
    if (!all && !client->over) {
      ++client;
      continue;
    }
    ::shutdown(client->socket, SHUT_RDWR);
    client->thread.join();
    ::close(client->socket);
    client = clients_.erase(client);
  }
}

void PlanSocket::serve(Client& client) {
  if (greeted(client.socket)) {
    const Plan::Id id = plan_.begin();
    plan_.end(id, read_paths(client.socket, id));
  }
  ::shutdown(client.socket, SHUT_RDWR);
  client.over = true;
}

// True when the plan came whole. A path that is longer than a key can be ends it.
bool PlanSocket::read_paths(int socket, Plan::Id id) {
  std::string buffer(kReceiveBytes, '\0'), path;
  for (;;) {
    const ssize_t got = ::recv(socket, buffer.data(), buffer.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    for (const char c : std::string_view(buffer.data(), static_cast<size_t>(got))) {
      if (c != '\0') {
        path += c;
        if (path.size() > kKeyBytesMax) return false;
      } else if (path.empty()) {
        return true;
      } else if (!plan_.add(id, std::exchange(path, {}))) {
        return false;
      }
    }
  }
}

}  // namespace headrace::mount
