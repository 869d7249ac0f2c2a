// SPDX-License-Identifier: Apache-2.0
#include "mount/daemon.h"

#include <fcntl.h>
#include <syslog.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <utility>

#include "sys/log.h"

namespace headrace::mount {
namespace {

// What the background says when all is well; everything else is a reason.
constexpr char kReady = '\n';
// ... which this goes before when it is the user's mistake.
constexpr char kMisused = '\x02';

std::atomic<int> g_log_file{-1};  // -1: syslog
std::atomic<LogLevel> g_level{LogLevel::kInfo};

void log_to_sink(LogLevel level, std::string_view line) {
  if (level < g_level.load()) return;
  const int file = g_log_file.load();
  if (file < 0) {
    const int priority = level == LogLevel::kError ? LOG_ERR : level == LogLevel::kWarning ? LOG_WARNING : LOG_INFO;
    ::syslog(priority, "%.*s", static_cast<int>(line.size()), line.data());
    return;
  }
  const time_t now = ::time(nullptr);
  struct tm parts = {};
  ::gmtime_r(&now, &parts);
  char when[32];
  const size_t size = std::strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ ", &parts);
  const std::string text = std::string(when, size) + std::string(line) + "\n";
  static_cast<void>(!::write(file, text.data(), text.size()));  // one call: lines of several threads do not mix
}

}  // namespace

Result<Daemon> Daemon::start(bool foreground) {
  if (foreground) return Daemon(-1);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0)
    return unavailable(std::string("start the background process: ") + std::strerror(errno));
  const pid_t child = ::fork();
  if (child < 0) return unavailable(std::string("start the background process: ") + std::strerror(errno));
  if (child == 0) {
    ::close(ends[0]);
    ::setsid();
    return Daemon(ends[1]);
  }
  ::close(ends[1]);
  std::string said;
  char buffer[4096];
  for (ssize_t got; (got = ::read(ends[0], buffer, sizeof buffer)) != 0;) {
    if (got > 0) said.append(buffer, static_cast<size_t>(got));
    if (got < 0 && errno != EINTR) break;
  }
  if (said == std::string(1, kReady)) ::_exit(0);
  const bool misused = said.starts_with(kMisused);
  if (misused) said.erase(0, 1);
  if (said.empty()) said = "headrace-mount: the background process ended without a word\n";
  static_cast<void>(!::write(STDERR_FILENO, said.data(), said.size()));
  ::_exit(misused ? 2 : 1);
}

void Daemon::tell(const std::string& text) {
  if (pipe_ < 0) return;
  static_cast<void>(!::write(pipe_, text.data(), text.size()));
  ::close(std::exchange(pipe_, -1));
}

void Daemon::ready() {
  if (pipe_ < 0) return;
  static_cast<void>(!::chdir("/"));  // not to keep the folder busy that it was started in
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  for (const int standard : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(null, standard);
  if (null > STDERR_FILENO) ::close(null);
  tell(std::string(1, kReady));
}

int Daemon::failed(const Status& status) {
  const bool misused = status.code() == Code::kInvalidArgument;
  const std::string text = "headrace-mount: " + status.message() + "\n";
  if (pipe_ >= 0) {
    tell((misused ? std::string(1, kMisused) : "") + text);
  } else {
    static_cast<void>(!::write(STDERR_FILENO, text.data(), text.size()));
  }
  return misused ? 2 : 1;
}

Status start_log(const std::string& file, bool foreground, bool verbose) {
  g_level = verbose ? LogLevel::kDebug : LogLevel::kInfo;
  if (!file.empty()) {
    g_log_file = ::open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (g_log_file < 0) return invalid_argument("open --log-file " + file + ": " + std::strerror(errno));
  } else if (foreground) {
    g_log_file = STDERR_FILENO;
  } else {
    ::openlog("headrace-mount", LOG_PID, LOG_DAEMON);
  }
  set_log_sink(log_to_sink);
  return {};
}

}  // namespace headrace::mount
