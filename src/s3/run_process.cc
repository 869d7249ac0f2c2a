// SPDX-License-Identifier: Apache-2.0
//
// RealProcessRunner: posix_spawn into a process group of its own, its output by a pipe, killed as a group.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "s3/process_source.h"

extern char** environ;

namespace headrace {
namespace {

constexpr int kTickMs = 50;  // how soon a stop is seen

// What the child starts with: no input, its output in the pipe, nothing on our standard error.
class SpawnPlan {
 public:
  explicit SpawnPlan(int out_fd) {
    ::posix_spawn_file_actions_init(&actions_);
    ::posix_spawn_file_actions_addopen(&actions_, 0, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_adddup2(&actions_, out_fd, 1);
    ::posix_spawn_file_actions_addopen(&actions_, 2, "/dev/null", O_WRONLY, 0);
    ::posix_spawnattr_init(&attributes_);
    ::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
    ::posix_spawnattr_setpgroup(&attributes_, 0);
    sigset_t none;
    ::sigemptyset(&none);
    ::posix_spawnattr_setsigmask(&attributes_, &none);
  }
  ~SpawnPlan() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attributes_);
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;

  Result<pid_t> spawn(const std::vector<std::string>& words) {
    std::vector<char*> arguments;
    for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    pid_t pid = 0;
    const int rc = ::posix_spawnp(&pid, arguments[0], &actions_, &attributes_, arguments.data(), environ);
    if (rc != 0) return invalid_argument(std::string("it cannot be run: ") + std::strerror(rc));
    return pid;
  }

 private:
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
};

// Until the pipe's end.
Status read_output(int fd, TimePoint until, uint64_t bytes_max, const std::stop_token& stop, std::string* output) {
  const Clock& clock = SystemClock::instance();
  char chunk[4096];
  for (;;) {
    if (stop.stop_requested()) return cancelled("stopped");
    if (clock.now() >= until) return timed_out("it did not end in time, and was killed");
    pollfd wait{fd, POLLIN, 0};
    if (::poll(&wait, 1, kTickMs) <= 0) continue;
    const ssize_t got = ::read(fd, chunk, sizeof chunk);
    if (got == 0) return {};
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return internal_error(std::string("its output cannot be read: ") + std::strerror(errno));
    output->append(chunk, static_cast<size_t>(got));
    if (output->size() > bytes_max) {
      return exhausted("it printed more than " + std::to_string(bytes_max) + " bytes, and was killed");
    }
  }
}

// A program may close its output and live on.
Status wait_exit(pid_t pid, TimePoint until, const std::stop_token& stop, int* code) {
  const Clock& clock = SystemClock::instance();
  for (;;) {
    int state = 0;
    const pid_t done = ::waitpid(pid, &state, WNOHANG);
    if (done == pid) {
      *code = WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
      return {};
    }
    // ECHILD: the program that embeds us reaps all children, so nobody knows.
    if (done < 0 && errno != EINTR) return {};
    if (stop.stop_requested()) return cancelled("stopped");
    if (clock.now() >= until) return timed_out("it did not end in time, and was killed");
    ::poll(nullptr, 0, 5);
  }
}

}  // namespace

Result<ProcessRunner::Exit> RealProcessRunner::run(const std::vector<std::string>& words, Nanos timeout,
                                                   uint64_t bytes_max, std::stop_token stop) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return exhausted(std::string("no pipe: ") + std::strerror(errno));
  SpawnPlan plan(ends[1]);
  auto pid = plan.spawn(words);
  ::close(ends[1]);
  if (!pid.ok()) {
    ::close(ends[0]);
    return pid.status();
  }
  const TimePoint until = SystemClock::instance().now() + timeout;
  Exit exit;
  Status status = read_output(ends[0], until, bytes_max, stop, &exit.output);
  ::close(ends[0]);
  if (status.ok()) status = wait_exit(*pid, until, stop, &exit.code);
  if (!status.ok()) {
    ::kill(-*pid, SIGKILL);
    int state = 0;
    while (::waitpid(*pid, &state, 0) < 0 && errno == EINTR) {
    }
    return status;
  }
  return exit;
}

Status RealProcessRunner::trusts(const std::string& path) {
  struct stat file {};
  if (::stat(path.c_str(), &file) != 0) return permission_denied(std::string("stat: ") + std::strerror(errno));
  if (file.st_uid != 0 && file.st_uid != ::geteuid()) {
    return permission_denied("the file belongs to another user, so no program is run from it");
  }
  if ((file.st_mode & S_IWOTH) != 0) {
    return permission_denied("everybody can write the file, so no program is run from it; chmod o-w");
  }
  // Where every user has a group of their own (and umask 002), a file that the group can write is still the user's.
  if ((file.st_mode & S_IWGRP) != 0 && file.st_gid != ::getegid() && file.st_gid != 0) {
    return permission_denied("its group (gid=" + std::to_string(file.st_gid) +
                             ") can write the file, so no program is run from it; chmod g-w");
  }
  return {};
}

}  // namespace headrace
