// SPDX-License-Identifier: Apache-2.0
//
// headrace-mount: wires the store, the mount and the kernel together. The order matters: the fork before any thread,
// the first LIST before the folder is mounted, the folder mounted before the user's shell goes on.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "loader/open_store.h"
#include "loader/runtime.h"
#include "mount/daemon.h"
#include "mount/fuse_adapter.h"
#include "mount/mount.h"
#include "mount/name_list.h"
#include "mount/options.h"
#include "mount/plan_socket.h"
#include "sys/log.h"

namespace headrace::mount {
namespace {

// Listings that nobody waits for: one of a folder, one of another.
constexpr size_t kBackgroundThreads = 2;
// Of the memory, for names; the rest is for contents.
constexpr uint64_t kMetadataShare = 2;
// ... and for what a plan fetches ahead.
constexpr uint64_t kPlanShare = 2;
// ... and for what it knows beyond that, over a disk cache: of 4 GiB, two and a half million files.
constexpr uint64_t kFutureShare = 8;
// Of the memory, for the program's heap and the stacks of its threads; its code and libraries (10 MiB) are shared.
constexpr uint64_t kProgramBytes = 8 << 20;
// Below this a few requests of 4 MiB and their retries do not fit side by side.
constexpr uint64_t kMemoryMin = 32 << 20;

// Attributes may still come out of the kernel's cache when the program behind a mount is gone; opening asks it.
bool is_dead_mount(const std::string& folder) {
  const int opened = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (opened >= 0) ::close(opened);
  return opened < 0 && errno == ENOTCONN;
}

Status check_folder(const std::string& folder) {
  if (is_dead_mount(folder)) {
    return not_found("mount " + folder + ": what was mounted there has died: umount -l " + folder);
  }
  struct stat at = {}, above = {};
  if (::stat(folder.c_str(), &at) != 0) {
    return not_found("mount " + folder + ": " + std::strerror(errno));
  }
  if (!S_ISDIR(at.st_mode)) return invalid_argument("mount " + folder + ": it is not a folder");
  if (::stat((folder + "/..").c_str(), &above) == 0 && above.st_dev != at.st_dev) {
    return invalid_argument("mount " + folder + ": something is mounted there already; umount it first");
  }
  return {};
}

Result<std::string> absolute(const std::string& folder) {
  char* real = ::realpath(folder.c_str(), nullptr);
  if (real == nullptr) {
    const std::string hint = errno == ENOTCONN ? "; what was mounted there has died: umount -l " + folder : "";
    return not_found("mount " + folder + ": " + std::strerror(errno) + hint);
  }
  std::string out = real;
  std::free(real);
  return out;
}

class Program {
 public:
  explicit Program(CommandLine line) : line_(std::move(line)) {}

  Status prepare() {
    HR_TRY_ASSIGN(line_.fuse.folder, absolute(line_.fuse.folder.empty() ? line_.folder : line_.fuse.folder));
    HR_TRY(check_folder(line_.fuse.folder));
    HR_TRY_ASSIGN(DataUrl url, parse_data_url(line_.url));
    if (!url.key.empty() && url.key.back() != '/') url.key += '/';
    RuntimeOptions options = Runtime::defaults();
    if (line_.memory_bytes != 0) options.memory_bytes = line_.memory_bytes;
    if (options.memory_bytes < kMemoryMin) {
      return invalid_argument("mount: --memory is less than " + std::to_string(kMemoryMin >> 20) + " MiB");
    }
    runtime_ = std::make_shared<Runtime>(options);
    // No slack, and the program's own out of it: who says 128 MiB has weighed it.
    runtime_->buffers()->set_mapped_max(options.memory_bytes);
    static_cast<void>(runtime_->budget()->reserve(kProgramBytes));
    HR_TRY(open_stores(url));
    line_.mount.catalog.prefix = url.key;
    line_.mount.catalog.metadata_bytes_max = options.memory_bytes / kMetadataShare;
    line_.mount.catalog.may_be_empty = line_.mount.allow_write;
    line_.mount.catalog.listed = line_.names_file.empty();
    if (!line_.names_file.empty()) line_.mount.catalog.ttl = Nanos::max();
    line_.fuse.source = url.text();
    if (line_.mount.plan_socket.empty()) line_.mount.plan_socket = default_plan_socket();
    background_ = std::make_unique<ThreadPool>(kBackgroundThreads, "hr-mount");
    MountOptions mount_options = line_.mount;
    mount_options.disk = store_.disk;
    mount_ = std::make_unique<Mount>(store_.store, store_.metrics, runtime_->buffers(), runtime_->budget(),
                                     *background_, std::move(mount_options));
    HR_TRY(line_.names_file.empty() ? mount_->check() : take_names(line_.names_file, url.key, mount_->catalog()));
    plan_ = std::make_unique<Plan>(*mount_, PlanOptions{.bytes_ahead_max = options.memory_bytes / kPlanShare,
                                                        .disk = store_.disk,
                                                        .future_bytes_max = options.memory_bytes / kFutureShare});
    const bool others = std::ranges::find(line_.fuse.kernel_options, "allow_other") != line_.fuse.kernel_options.end();
    HR_TRY_ASSIGN(plan_socket_, PlanSocket::listen(*plan_, line_.mount.plan_socket, others));
    HR_TRY_ASSIGN(fuse_, FuseMount::mount(*mount_, line_.fuse));
    return {};
  }

  Status serve() {
    log_line(LogLevel::kInfo, "mounted " + line_.fuse.source + " on " + line_.fuse.folder);
    const Status status = fuse_->serve([this] { mount_->close(); });
    fuse_.reset();
    plan_socket_.reset();
    plan_.reset();
    mount_->close();
    log_line(LogLevel::kInfo, "unmounted " + line_.fuse.folder + ": " + one_line(mount_->stats_text()));
    return status;
  }

 private:
  // The disk cache with what is read over what it is read from.
  Status open_stores(const DataUrl& url) {
    StoreOptions options = line_.store;
    // Who waits for a read hears why it fails, not that it took too long.
    const auto deadline_s = static_cast<uint64_t>(line_.mount.read.read_deadline / std::chrono::seconds(1));
    options.retry_seconds_max = std::min(options.retry_seconds_max, std::max<uint64_t>(1, deadline_s));
    if (!options.cache_dir.empty()) {
      std::error_code failed;
      const std::filesystem::path from_root = std::filesystem::absolute(options.cache_dir, failed);
      if (!failed) options.cache_dir = std::filesystem::weakly_canonical(from_root, failed);
      if (failed) return invalid_argument("mount: --cache-dir " + line_.store.cache_dir + ": " + failed.message());
      if ((options.cache_dir + "/").starts_with(line_.fuse.folder + "/")) {
        return invalid_argument("mount: --cache-dir " + line_.store.cache_dir + ": it lies in the mount's own folder");
      }
    }
    HR_TRY_ASSIGN(OpenedStore opened, open_store(url, options, runtime_));
    HR_TRY_ASSIGN(store_, with_disk_cache(std::move(opened), options, runtime_, false));
    return {};
  }

  static std::string one_line(std::string text) {
    std::erase(text, '\n');
    return text;
  }

  CommandLine line_;
  std::shared_ptr<Runtime> runtime_;
  OpenedStore store_;
  std::unique_ptr<ThreadPool> background_;
  std::unique_ptr<Mount> mount_;
  std::unique_ptr<Plan> plan_;
  std::unique_ptr<PlanSocket> plan_socket_;
  std::unique_ptr<FuseMount> fuse_;
};

int run(int count, char** words) {
  Result<CommandLine> line = parse_command_line({words + 1, words + count});
  if (!line.ok()) return std::fprintf(stderr, "%s\n", line.status().message().c_str()), 2;
  if (line->help) return std::fputs(kMountUsage, stdout), 0;
  const bool foreground = line->foreground, verbose = line->verbose;
  const std::string log_file = line->log_file;
  ::signal(SIGPIPE, SIG_IGN);
  Result<Daemon> daemon = Daemon::start(foreground);
  if (!daemon.ok()) return std::fprintf(stderr, "headrace-mount: %s\n", daemon.status().message().c_str()), 1;
  block_ending_signals();
  if (const Status status = start_log(log_file, foreground, verbose); !status.ok()) return daemon->failed(status);
  Program program(*std::move(line));
  if (const Status status = program.prepare(); !status.ok()) return daemon->failed(status);
  daemon->ready();
  const Status status = program.serve();
  if (!status.ok()) log_line(LogLevel::kError, status.message());
  return status.ok() ? 0 : 1;
}

}  // namespace
}  // namespace headrace::mount

int main(int count, char** words) { return headrace::mount::run(count, words); }
