// SPDX-License-Identifier: Apache-2.0
#include "mount/fuse_adapter.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <sstream>
#include <thread>

#include "mount/fuse_calls.h"

namespace headrace::mount {
namespace {

// Buffered reads come in the device's read-ahead, 128 KiB unless root says otherwise; a failure to say costs speed
// only.
void widen_read_ahead(const std::string& folder) {
  std::ifstream mounts("/proc/self/mountinfo");
  std::string line, device;
  while (std::getline(mounts, line)) {
    std::istringstream words(line);
    std::string id, parent, numbers, root, place;
    words >> id >> parent >> numbers >> root >> place;
    if (place == folder) device = numbers;
  }
  if (!device.empty()) std::ofstream("/sys/class/bdi/" + device + "/read_ahead_kb") << kRequestBytes / 1024;
}

fuse_session* g_session = nullptr;  // a signal handler has no other way
int g_stopping = -1;

void on_ending_signal(int) {
  const int saved = errno;
  fuse_session_exit(g_session);
  const uint64_t one = 1;
  static_cast<void>(!::write(g_stopping, &one, sizeof one));
  errno = saved;
}

constexpr int kEndingSignals[] = {SIGINT, SIGTERM, SIGHUP};

sigset_t ending_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : kEndingSignals) sigaddset(&set, signal);
  return set;
}

}  // namespace

void block_ending_signals() {
  const sigset_t set = ending_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

namespace {

// libfuse's options are parted by commas, and a key may have some.
std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) out += c == ',' || c == '\\' ? std::string("\\") + c : std::string(1, c);
  return out;
}

}  // namespace

FuseMount::FuseMount(std::unique_ptr<State> state) : state_(std::move(state)) {}

FuseMount::~FuseMount() {
  if (state_->session == nullptr) return;
  fuse_session_unmount(state_->session);
  fuse_session_destroy(state_->session);
}

Result<std::unique_ptr<FuseMount>> FuseMount::mount(Mount& mount, FuseOptions options) {
  auto state = std::make_unique<State>();
  state->mount = &mount;
  state->options = std::move(options);
  std::string text = "fsname=" + escaped(state->options.source) +
                     ",subtype=headrace,max_read=" + std::to_string(kRequestBytes) + ",default_permissions" +
                     (state->options.allow_write ? "" : ",ro");
  for (const std::string& option : state->options.kernel_options) text += "," + option;
  fuse_args arguments = FUSE_ARGS_INIT(0, nullptr);
  fuse_opt_add_arg(&arguments, "headrace-mount");
  fuse_opt_add_arg(&arguments, "-o");
  fuse_opt_add_arg(&arguments, text.c_str());
  state->session = fuse_session_new(&arguments, &fuse_calls(), sizeof(fuse_lowlevel_ops), state.get());
  fuse_opt_free_args(&arguments);
  if (state->session == nullptr)
    return invalid_argument("mount " + state->options.folder + ": libfuse refuses the options: " + text);
  const std::string folder = state->options.folder;
  if (fuse_session_mount(state->session, folder.c_str()) != 0) {
    fuse_session_destroy(std::exchange(state->session, nullptr));
    return unavailable("mount " + folder + ": the kernel refuses (" + std::strerror(errno) +
                       "); is there /dev/fuse, and may this user mount (root, or fusermount3 from the package fuse3)?");
  }
  return std::unique_ptr<FuseMount>(new FuseMount(std::move(state)));
}

Status FuseMount::serve(std::function<void()> stopping) {
  widen_read_ahead(state_->options.folder);
  g_session = state_->session;
  g_stopping = ::eventfd(0, EFD_CLOEXEC);
  std::thread watcher([&] {
    uint64_t count = 0;
    while (::read(g_stopping, &count, sizeof count) < 0 && errno == EINTR) {
    }
    stopping();
  });
  struct sigaction action = {}, before[std::size(kEndingSignals)];
  action.sa_handler = on_ending_signal;
  for (size_t i = 0; i < std::size(kEndingSignals); ++i) ::sigaction(kEndingSignals[i], &action, &before[i]);
  const sigset_t set = ending_signals();
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  fuse_loop_config* config = fuse_loop_cfg_create();
  fuse_loop_cfg_set_max_threads(config, state_->options.threads_max);
  const int outcome = fuse_session_loop_mt(state_->session, config);
  fuse_loop_cfg_destroy(config);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  const uint64_t one = 1;
  static_cast<void>(!::write(g_stopping, &one, sizeof one));
  watcher.join();
  for (size_t i = 0; i < std::size(kEndingSignals); ++i) ::sigaction(kEndingSignals[i], &before[i], nullptr);
  ::close(std::exchange(g_stopping, -1));
  if (outcome < 0) return unavailable("serve " + state_->options.folder + ": " + std::strerror(-outcome));
  return {};
}

}  // namespace headrace::mount
