// SPDX-License-Identifier: Apache-2.0
//
// Where programs say what they will read: a Unix socket. A client sends "headrace-plan 1\n", then paths from the top of
// the mount, each ended by a NUL, and an empty path when that is all. Who sends faster than files are read is made to
// wait by the socket itself. A client that goes without the empty path takes back what was not begun.
#pragma once

#include <atomic>
#include <list>
#include <memory>
#include <string>
#include <thread>

#include "mount/plan.h"

namespace headrace::mount {

class PlanSocket {
 public:
  // `others`: any user may connect, not only the owner.
  static Result<std::unique_ptr<PlanSocket>> listen(Plan& plan, const std::string& path, bool others);
  ~PlanSocket();

 private:
  struct Client {
    int socket = -1;
    std::atomic<bool> over{false};
    std::thread thread;
  };
  PlanSocket(Plan& plan, std::string path, int socket, int stop);
  void accept_clients();
  void serve(Client& client);
  bool read_paths(int socket, Plan::Id id);
  void reap(bool all);

  Plan& plan_;
  const std::string path_;
  const int socket_, stop_;
  std::list<Client> clients_;
  std::thread thread_;
};

// A path that nobody else has: in $XDG_RUNTIME_DIR, else in /tmp.
std::string default_plan_socket();

}  // namespace headrace::mount
