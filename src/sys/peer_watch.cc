// SPDX-License-Identifier: Apache-2.0
#include "sys/peer_watch.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>

namespace headrace {
namespace {

void* watch(void* given) {
  pollfd watched{};
  watched.fd = static_cast<int>(reinterpret_cast<intptr_t>(given));
  watched.events = POLLRDHUP;
  while (true) {
    const int ready = ::poll(&watched, 1, -1);
    if (ready < 0 && errno == EINTR) continue;
    if (ready < 0 || (watched.revents & (POLLHUP | POLLRDHUP | POLLERR | POLLNVAL)) != 0) ::_exit(1);
  }
}

}  // namespace

Status exit_when_peer_closes(int socket) {
  // Signals are for the threads of the program.
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread{};
  const int failed = ::pthread_create(&thread, nullptr, watch, reinterpret_cast<void*>(static_cast<intptr_t>(socket)));
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (failed != 0) {
    return internal_error(std::string("watch the parent process: pthread_create: ") + std::strerror(failed));
  }
  ::pthread_detach(thread);
  return {};
}

}  // namespace headrace
